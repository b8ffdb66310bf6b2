"""What stands in the fields of the search form."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator

from consumer.domain.studies import Criteria, WrongCriterion
from shared.http.problem import Unprocessable
from shared.pages.forms import FormFields

_LONGEST = 256


class StudySearch(FormFields):
    """Whose studies, and which, as a person wrote it."""

    patient_id: str = ""
    modality: str = ""
    since: str = ""
    before: str = ""

    @field_validator("*", mode="before")
    @classmethod
    def _cut(cls, value: Any) -> str:
        return str(value)[:_LONGEST]

    def criteria(self, affinity_domain: str) -> Criteria:
        """As the registry is asked.

        Raises
        ------
        WrongSearch
            It cannot be asked so.
        """
        try:
            return Criteria.of(
                self.patient_id,
                affinity_domain=affinity_domain,
                modalities=self.modality.replace(",", " ").split(),
                since=self.since,
                before=self.before,
            )
        except WrongCriterion as error:
            raise WrongSearch(self, error) from None


class WrongSearch(Unprocessable):
    """A field of the form `searched` is not as it should be; `wrong` says of it what would be right."""

    def __init__(self, searched: StudySearch, error: WrongCriterion) -> None:
        super().__init__(str(error))
        self.searched = searched
        self.wrong = {error.name: error.text}
