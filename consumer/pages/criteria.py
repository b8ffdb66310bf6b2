"""What stands in the fields of the search form."""

from __future__ import annotations

from collections.abc import Sequence

from consumer.domain.studies import Criteria, WrongCriterion
from shared.ebrim.model import Code
from shared.http.problem import Unprocessable
from shared.pages.forms import FormFields

_LONGEST = 256


class StudySearch(FormFields):
    """Whose studies, and which, as a person wrote it."""

    longest = _LONGEST

    patient_id: str = ""
    modality: str = ""
    since: str = ""
    before: str = ""
    purpose: str = ""

    def criteria(self, affinity_domain: str, purposes: Sequence[Code]) -> Criteria:
        """As the registry is asked, for somebody who can state `purposes`.

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
            raise WrongSearch(self, error, purposes) from None

    def stated_purpose(self, purposes: Sequence[Code]) -> str:
        """The purpose of access, of those that the sign-in names: the one that was chosen, or the only one.

        Raises
        ------
        WrongSearch
            Several are there and none was chosen, or another one.
        """
        codes = [str(one) for one in purposes]
        if self.purpose in codes:
            return self.purpose
        if len(codes) <= 1 and not self.purpose:
            return "".join(codes)
        error = WrongCriterion(
            "purpose", "say for which of these purposes you look; others need another sign-in"
        )
        raise WrongSearch(self, error, purposes)


class WrongSearch(Unprocessable):
    """A field of the form `searched` is not as it should be; `wrong` says of it what would be right."""

    def __init__(self, searched: StudySearch, error: WrongCriterion, purposes: Sequence[Code]) -> None:
        super().__init__(str(error))
        self.searched = searched
        self.purposes = purposes
        self.wrong = {error.name: error.text}
