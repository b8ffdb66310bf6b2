"""The pages for clinicians: made by the server, without scripts; the viewer is one of scripts."""

from __future__ import annotations

from typing import Any

from consumer.pages import (
    emergency,
    invocation,
    launch,
    ohif,
    reports,
    search,
    study,
    take_overs,
    viewer,
    viewer_files,
)
from shared.pages import following, sign_in, style
from shared.rest.served import ServedRest
from shared.security.rights import Right

__all__ = ["SERVED_REST"]

SERVED_REST: tuple[ServedRest[Any, Any], ...] = (
    *search.SERVED,
    *invocation.SERVED,
    *launch.SERVED,
    *study.SERVED,
    *reports.SERVED,
    *emergency.SERVED,
    *take_overs.SERVED,
    *viewer.SERVED,
    viewer_files.SERVED,
    *ohif.SERVED,
    *sign_in.served(Right.ASK),
    style.SERVED,
    following.SERVED,
)
