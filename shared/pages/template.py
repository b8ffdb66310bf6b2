"""Templates of pages: those of one service, and those that every service with pages has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


class Templates:
    """The templates of the pages of `package`, over our own.

    Parameters
    ----------
    brand
        What the service is called on its pages.
    purpose
        Why somebody signs in, in a sentence.
    filters
        Further filters of its templates.
    """

    def __init__(
        self, package: str, *, brand: str, purpose: str, filters: Mapping[str, Callable[..., Any]]
    ) -> None:
        self._environment = Environment(
            loader=ChoiceLoader([PackageLoader(package), PackageLoader("shared.pages")]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= {"brand": brand, "purpose": purpose}
        self._environment.filters |= filters

    def written(self, template: str, **values: Any) -> bytes:
        """A page by its template."""
        return self._environment.get_template(template).render(values).encode()
