"""The pages at which people sign in here, made by the server; a script asks their passkeys alone."""

from __future__ import annotations

from typing import Any

from identity.pages import account, authorize, script, sign_in
from shared.pages import style
from shared.rest.served import ServedRest

__all__ = ["SERVED_REST"]

SERVED_REST: tuple[ServedRest[Any, Any], ...] = (
    authorize.SERVED,
    *sign_in.SERVED,
    *account.SERVED,
    script.SERVED,
    style.SERVED,
)
