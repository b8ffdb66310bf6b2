"""Communities by their homeCommunityId, and which of them is meant (ITI TF-1 18; ITI TF-2 3.38.4.1.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shared.errors import MissingHomeCommunityId, UnavailableCommunity, UnknownCommunity

#: The parameters that name the patient of a stored query; a query without any of them must name its home.
PATIENT_PARAMETERS = (
    "$XDSDocumentEntryPatientId",
    "$XDSSubmissionSetPatientId",
    "$XDSFolderPatientId",
    "$patientId",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Community:
    """One community; `gateway_urls` are those of its Responding Gateway, by the number of the transaction,
    and none for our own.
    """

    home_community_id: str
    gateway_urls: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_own(self) -> bool:
        """Whether its actors are asked without a gateway."""
        return not self.gateway_urls

    def gateway_url(self, transaction: str) -> str:
        """Where the community takes a transaction.

        Raises
        ------
        UnavailableCommunity
            No address for it is known.
        """
        url = self.gateway_urls.get(transaction, "")
        if not url:
            raise UnavailableCommunity(
                f"no address of {self.home_community_id} is known for {transaction}",
                location=self.home_community_id,
            )
        return url


@dataclass(frozen=True, slots=True, kw_only=True)
class Communities:
    """Our own community and those that it asks, by homeCommunityId in the order in which answers are put
    together."""

    own: Community
    by_home: Mapping[str, Community] = field(default_factory=dict)

    @classmethod
    def of(cls, own_home: str, gateways: Mapping[str, Mapping[str, str]]) -> Communities:
        """Our own and those behind `gateways`, homeCommunityId to their URLs by transaction."""
        own = Community(home_community_id=own_home)
        others = (Community(home_community_id=home, gateway_urls=urls) for home, urls in gateways.items())
        return cls(own=own, by_home={one.home_community_id: one for one in (own, *others)})

    def find(self, home: str, *, location: str = "") -> Community:
        """The community that `home` means.

        Raises
        ------
        MissingHomeCommunityId
            It is empty.
        UnknownCommunity
            Nobody is known under it.
        """
        if not home:
            raise MissingHomeCommunityId(
                "homeCommunityId is needed here; it stands as `home` on every object that a query finds",
                location=location,
            )
        community = self.by_home.get(home)
        if community is None:
            raise UnknownCommunity(
                f"no community {home[:100]} is known here; a homeCommunityId is urn:oid: and its OID",
                location=location,
            )
        return community

    def check_own(self, home: str, *, location: str = "") -> None:
        """Raise `MissingHomeCommunityId` or `UnknownCommunity` unless `home` is ours (3.39.4.1.3)."""
        if home and home != self.own.home_community_id:
            raise UnknownCommunity(
                f"this gateway answers for {self.own.home_community_id}, not for {home[:100]}",
                location=location,
            )
        self.find(home, location=location)


def names_patient(parameters: Iterable[str]) -> bool:
    """Whether a stored query with these parameters is about a patient, so that it may go to everybody."""
    return not set(parameters).isdisjoint(PATIENT_PARAMETERS)
