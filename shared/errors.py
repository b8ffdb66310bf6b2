"""The errors that IHE names (ITI TF-3 table 4.2.4.1-2).

XdsError                    one error of an orderly response
  SubmissionError           ITI-41, 42, 57, 61, 92: nothing of the submission was stored
  RemovalError              ITI-62
  QueryError                ITI-18, 51
  RetrieveError             ITI-43, 86, RAD-69
  CommunityError            gateways
  UnavailableError          try later, or somewhere else
Rejected                    carries every error of a submission at once

`SoapFault` (`shared.faults`) is for messages that never reached their semantics; the two trees have no
common base, so that nobody catches them together.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Actor(StrEnum):
    """The two forms in which the standard writes some error codes."""

    REGISTRY = "Registry"
    REPOSITORY = "Repository"


class Severity(StrEnum):
    """ErrorSeverityType of ebRS; a warning never turns a Success into anything less."""

    ERROR = "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Error"
    WARNING = "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Warning"


class XdsError(Exception):
    """One error of a response; `context` becomes its codeContext and is safe to show.

    `location` leads to the object in error: an entryUUID, a uniqueId, or `id/attribute`.
    """

    code: ClassVar[str] = "XDS{actor}Error"
    severity: ClassVar[Severity] = Severity.ERROR

    def __init__(self, context: str, *, location: str = "") -> None:
        super().__init__(context)
        self.context = context
        self.location = location

    def code_for(self, actor: Actor) -> str:
        """The code as `actor` writes it."""
        return self.code.format(actor=actor)


class Rejected(Exception):
    """Several errors of one submission, reported together."""

    def __init__(self, *errors: XdsError) -> None:
        super().__init__("; ".join(error.context for error in errors))
        self.errors = errors


class RelayedError(XdsError):
    """An error that another actor reported; its code and severity pass through unchanged."""

    def __init__(self, code: str, context: str, *, severity: Severity, location: str = "") -> None:
        super().__init__(context, location=location)
        self.relayed_code = code
        self.severity = severity  # type: ignore[misc]  # relayed, hence not of the class

    def code_for(self, actor: Actor) -> str:
        """The code that was relayed, whoever relays it."""
        return self.relayed_code


# --- submissions -------------------------------------------------------------------------------------


class SubmissionError(XdsError):
    """The submission breaks a rule of ITI TF-3 4.1 or 4.2; nothing of it was stored."""


class MetadataError(SubmissionError):
    """An attribute is missing, malformed or contradicts another."""

    code = "XDS{actor}MetadataError"


class ConsentWithoutEffect(MetadataError):
    """A warning: the document says that it is a consent; it was stored, and nobody decides by it."""

    severity = Severity.WARNING


class TooManyPolicies(SubmissionError):
    """The patient has as many consent policies as services read; one more would close the patient there."""


class NoSubmissionSet(MetadataError):
    """The message has no SubmissionSet; Metadata Update has a code of its own for that."""


class DuplicateUniqueIdInMessage(SubmissionError):
    """One uniqueId names two objects of the submission; `context` holds the id."""

    code = "XDS{actor}DuplicateUniqueIdInMessage"


class DuplicateUniqueIdInRegistry(SubmissionError):
    """The uniqueId of a SubmissionSet or Folder is already registered; `context` holds the id."""

    code = "XDSDuplicateUniqueIdInRegistry"


class NonIdenticalHash(SubmissionError):
    """A document of this uniqueId exists with other bytes."""

    code = "XDSNonIdenticalHash"


class NonIdenticalSize(SubmissionError):
    """A document of this uniqueId exists with another size."""

    code = "XDSNonIdenticalSize"


class PatientIdDoesNotMatch(SubmissionError):
    """Objects that belong together name different patients."""

    code = "XDSPatientIdDoesNotMatch"


class UnknownPatientId(SubmissionError):
    """The patient id is not known here, was merged away, or is of a foreign authority."""

    code = "XDSUnknownPatientId"


class UnresolvedReference(SubmissionError):
    """An association names an object that is neither in the message nor registered."""

    code = "UnresolvedReferenceException"


class RegistryDeprecatedDocument(SubmissionError):
    """An association names an object that is no longer Approved."""

    code = "XDSRegistryDeprecatedDocumentError"


class MissingDocument(SubmissionError):
    """A DocumentEntry came without its document."""

    code = "XDSMissingDocument"


class MissingDocumentMetadata(SubmissionError):
    """A document came without its DocumentEntry."""

    code = "XDSMissingDocumentMetadata"


class MetadataUpdateError(SubmissionError):
    """The update breaks a rule of ITI-57 that has no code of its own; `context` holds the object's id."""

    code = "XDSMetadataUpdateError"


class MetadataUpdateOperationError(SubmissionError):
    """The message cannot be read as operations of Metadata Update (ITI-57, 92)."""

    code = "XDSMetadataUpdateOperationError"


class MetadataVersionError(SubmissionError):
    """PreviousVersion is not the version that is current, or there is none (ITI-57, 92)."""

    code = "XDSMetadataVersionError"


class PatientIdReconciliationError(SubmissionError):
    """The update would join objects of two patients (ITI-57), or changes the patient (ITI-92)."""

    code = "XDSPatientIDReconciliationError"


class MetadataIdentifierError(SubmissionError):
    """A restricted update changes the uniqueId, or does not tell which entry it means (ITI-92)."""

    code = "XDSMetadataIdentifierError"


class ObjectTypeError(SubmissionError):
    """A restricted update changes the objectType, or is of a class that ITI-92 does not update."""

    code = "XDSObjectTypeError"


class MetadataAnnotationError(SubmissionError):
    """The HasMember of a restricted update is absent, or wrongly annotated (ITI-92)."""

    code = "XDSMetadataAnnotationError"


class UnmodifiableMetadata(SubmissionError):
    """A restricted update changes what it may not change (ITI-92)."""

    code = "UnmodifiableMetadataError"


class LocalPolicyRestriction(SubmissionError):
    """The policy of this registry forbids the restricted update (ITI-92)."""

    code = "LocalPolicyRestrictionError"


class InvalidRequest(SubmissionError):
    """A restricted update brings the first version of an entry (ITI-92)."""

    code = "XDSInvalidRequestException"


class ExtraMetadataNotSaved(SubmissionError):
    """A warning: extra slots were dropped."""

    code = "XDSExtraMetadataNotSaved"
    severity = Severity.WARNING


# --- removals ----------------------------------------------------------------------------------------


class RemovalError(XdsError):
    """Metadata was not removed (ITI-62); `location` is the entryUUID in question."""


class InvalidRemoval(RemovalError):
    """The request does not say what to remove, or the caller may not remove anything."""


class ReferencesExist(RemovalError):
    """An association that would stay points at an object that would go."""

    code = "ReferencesExistException"


class UnreferencedObject(RemovalError):
    """An object that would stay would be left without its associations."""

    code = "XDSUnreferencedObjectException"


# --- queries -----------------------------------------------------------------------------------------


class QueryError(XdsError):
    """The stored query was understood as far as the error says, and no further."""


class UnknownStoredQuery(QueryError):
    """The query id is unknown, or belongs to another transaction."""

    code = "XDSUnknownStoredQuery"


class StoredQueryMissingParam(QueryError):
    """A required parameter is absent; `context` names it."""

    code = "XDSStoredQueryMissingParam"


class StoredQueryParamNumber(QueryError):
    """A single-valued parameter has several values, or two exclusive parameters came together."""

    code = "XDSStoredQueryParamNumber"


class TooManyResults(QueryError):
    """The answer would exceed the limit; ask for ObjectRefs or narrow the query."""

    code = "XDSTooManyResults"


class ResultNotSinglePatient(QueryError):
    """A LeafClass answer would mix patients."""

    code = "XDSResultNotSinglePatient"


# --- retrievals --------------------------------------------------------------------------------------


class RetrieveError(XdsError):
    """One document of a retrieval was not delivered; `location` is its uniqueId."""


class UnknownRepositoryId(RetrieveError):
    """The repositoryUniqueId is not served here."""

    code = "XDSUnknownRepositoryId"


class DocumentUniqueIdError(RetrieveError):
    """The document is not available: unknown, removed, or not for this caller; nobody learns which."""

    code = "XDSDocumentUniqueIdError"


class RemoveDocumentsError(RetrieveError):
    """The document cannot be removed, or not by this caller (ITI-86)."""

    code = "XDSRemoveDocumentsError"


class NoAcceptableTransferSyntax(RetrieveError):
    """The instance cannot be given in any transfer syntax of the request (RAD TF-3 4.69)."""

    code = "XDSRepositoryError"


# --- communities -------------------------------------------------------------------------------------


class CommunityError(XdsError):
    """A gateway could not ask a community."""


class UnknownCommunity(CommunityError):
    """The homeCommunityId is not known."""

    code = "XDSUnknownCommunity"


class UnavailableCommunity(CommunityError):
    """The community does not answer."""

    code = "XDSUnavailableCommunity"


class MissingHomeCommunityId(CommunityError):
    """The homeCommunityId is needed and absent."""

    code = "XDSMissingHomeCommunityId"


# --- availability ------------------------------------------------------------------------------------


class UnavailableError(XdsError):
    """The request was in order; the service cannot do it now."""


class RegistryNotAvailable(UnavailableError):
    """The repository cannot reach the registry, or does not know what became of the submission."""

    code = "XDSRegistryNotAvailable"


class OutcomeNotKnown(RegistryNotAvailable):
    """Whether the request was carried out is not known; the same message, with its MessageID, finds out."""


class Busy(UnavailableError):
    """More work than this service takes at once; retry after a moment."""

    code = "XDS{actor}Busy"


class OutOfResources(UnavailableError):
    """Storage or another resource is exhausted, or a limit of the service is exceeded."""

    code = "XDS{actor}OutOfResources"
