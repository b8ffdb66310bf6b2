"""What implementations of XDS-I.b commonly get wrong, and the tests that hold each of it."""

from __future__ import annotations

import ast

import pytest

from tests.support.syntax import ROOT, tree_of

_SOURCE, _UNIT = "transactions/imaging_source", "unit/imaging_source"
_WRONG = f"{_UNIT}/test_commonly_wrong.py"
_RAD69, _RAD107, _RAD108 = (f"{_SOURCE}/test_rad{number}.py" for number in (69, 107, 108))
_RAD68, _RAD129, _RAD55 = (f"{_SOURCE}/test_rad{number}.py" for number in (68, 129, 55))
_MANIFEST, _PUBLISHING = f"{_UNIT}/test_manifest.py", f"{_UNIT}/test_publishing.py"
_SYNTAX, _MESSAGES = f"{_UNIT}/test_transfer_syntax.py", "unit/messages/test_retrieval_messages.py"
_RETRIEVALS, _QUERIES = "transactions/gateway/test_retrievals.py", "transactions/gateway/test_queries.py"
_RETRIEVED = "transactions/consumer/test_retrieval.py"

#: Each rule in a sentence, and the tests by which it is held: file, and name of the test.
RULES: dict[str, tuple[tuple[str, str], ...]] = {
    "RAD-69 asks by SOP Instance UID, never by that of the manifest": (
        (_RETRIEVED, "test_every_instance_comes_as_it_was_stored"),
        (_RAD69, "test_a_wrong_request_is_answered_with_its_error"),
    ),
    "RAD-69 asks by Retrieve Location UID, never by the id of the document repository": (
        (_RAD69, "test_a_wrong_request_is_answered_with_its_error"),
    ),
    "RAD-69 is answered by the action of ITI-43, RAD-75 has its own two": (
        (_MESSAGES, "test_both_retrievals_answer_with_the_same_action"),
    ),
    "PartialSuccess has the prefix of IHE": (
        (_MESSAGES, "test_a_partial_success_without_a_word_is_still_partial"),
        (_RAD69, "test_the_outcome_of_a_response_follows_its_errors"),
    ),
    "DocumentRequest is of the namespace of ITI, and mimeType is written so": (
        (_MESSAGES, "test_a_document_request_is_read_in_both_namespaces"),
        (_RAD69, "test_the_response_is_what_the_standard_wants_on_the_wire"),
    ),
    "Retrieve AE Title and Location UID stand in each series and nowhere else": (
        (_WRONG, "test_every_series_and_nothing_else_says_where_its_instances_are"),
    ),
    "a manifest is a KO in a series of its own": (
        (_WRONG, "test_the_manifest_is_a_key_object_in_a_series_that_it_does_not_reference"),
        (_MANIFEST, "test_the_manifest_lies_in_its_study_in_a_series_of_its_own"),
    ),
    "a manifest has the Study Instance UID of its study": (
        (_WRONG, "test_the_study_is_the_same_in_manifest_evidence_and_entry"),
    ),
    "content tree and evidence agree, and value types follow the SOP class": (
        (_MANIFEST, "test_the_content_tree_names_what_the_evidence_names"),
        (_MANIFEST, "test_the_value_type_follows_from_the_sop_class"),
        (_WRONG, "test_the_value_type_of_a_reference_follows_its_sop_class"),
    ),
    "(0008,1111) is present and empty, Content Template Sequence is present": (
        (_WRONG, "test_what_is_required_though_empty_and_the_template_are_there"),
        (_MANIFEST, "test_attributes_of_type_2_are_present_though_empty"),
    ),
    "an issuer is (0040,0032) within its sequence, and (0010,0032) is a time": (
        (_WRONG, "test_the_issuer_of_the_patient_id_is_in_its_qualifiers_and_no_time"),
    ),
    "uniqueId is the SOP Instance UID, and a retry sends the same manifest": (
        (_PUBLISHING, "test_the_entry_says_that_it_is_a_manifest"),
        (_RAD68, "test_what_passes_is_tried_again_with_the_very_same_message"),
    ),
    "times of metadata are in UTC and have no fraction": (
        (_WRONG, "test_a_time_of_the_entry_has_no_fraction_and_is_in_utc"),
        (_PUBLISHING, "test_the_study_begins_in_utc"),
    ),
    "eventCodeList has acquisition modalities alone, by OID, with names; both spellings are found": (
        (_WRONG, "test_no_event_is_of_a_modality_that_acquires_nothing"),
        (
            "transactions/consumer/test_service.py",
            "test_a_modality_is_found_under_either_spelling_of_its_scheme",
        ),
    ),
    "formatCode of a manifest has the UID registry of DICOM as scheme": (
        (_PUBLISHING, "test_the_entry_says_that_it_is_a_manifest"),
        (
            "transactions/consumer/test_service.py",
            "test_a_manifest_is_found_whatever_the_scheme_of_its_format_code",
        ),
    ),
    "patientId is of the affinity domain, and PID-5 has the order of XPN": (
        (_PUBLISHING, "test_an_id_of_another_domain_is_refused"),
        (_PUBLISHING, "test_prefix_and_suffix_change_places"),
    ),
    "referenceIdList has its exact name, and nothing stray in its values": (
        (_WRONG, "test_references_stand_in_one_slot_of_the_right_name_and_have_five_components"),
    ),
    "CXi has five components, and the type is the fifth": (
        (_WRONG, "test_references_stand_in_one_slot_of_the_right_name_and_have_five_components"),
        (_PUBLISHING, "test_accession_study_and_order_are_references"),
    ),
    "RAD-69 answers an unknown instance with its error": (
        (_RAD69, "test_a_wrong_request_is_answered_with_its_error"),
        (_RETRIEVED, "test_what_the_source_does_not_have_is_named"),
    ),
    "RAD-69 sees a wrong study or series": (
        (_RAD69, "test_right_and_wrong_study_of_one_instance_are_told_apart"),
    ),
    "a syntax that is listed is given: decoded where that is listed alone, and no JPEG to who lists none": (
        (_RAD69, "test_a_compressed_instance_is_decoded_for_who_lists_explicit_little_endian"),
        (_RAD69, "test_without_a_possible_syntax_there_is_an_error_and_no_document"),
    ),
    "video is never decoded, and given to who lists it": (
        (_SYNTAX, "test_video_is_never_decoded_whatever_decoders_claim"),
        (_RAD107, "test_video_is_given_as_it_is_stored_to_who_asks_for_no_syntax"),
    ),
    "WADO-RS without a transfer syntax decodes what is lossless; * gives what is stored": (
        (_RAD107, "test_lossless_pixels_are_decoded_unless_a_syntax_is_asked_for"),
        (f"{_UNIT}/test_negotiation.py", "test_a_transfer_syntax_is_found_wherever_clients_write_it"),
    ),
    "the type of multipart is quoted, and the body ends with its closing delimiter": (
        ("unit/dicom/test_dicom_multipart.py", "test_the_type_of_the_parts_is_quoted"),
        (_RAD107, "test_the_body_ends_with_the_closing_delimiter"),
    ),
    "Accept is heard: 406 for what cannot be, multipart/* at QIDO-RS": (
        (_RAD107, "test_an_impossible_syntax_is_not_acceptable"),
        (_RAD129, "test_the_answer_has_the_form_that_is_liked_best"),
        (f"{_SOURCE}/test_rendered.py", "test_an_image_comes_in_the_form_that_is_asked_for"),
    ),
    "group 2, the part and the data set agree about the transfer syntax": (
        (_RAD107, "test_the_part_says_the_syntax_that_its_file_has"),
        (
            f"{_UNIT}/test_instance.py",
            "test_of_two_names_that_of_the_data_set_counts_and_group_2_is_put_right",
        ),
    ),
    "QIDO-RS answers nothing by 200 and []": ((_RAD129, "test_nothing_is_an_empty_array"),),
    "STOW-RS answers failures by 202 or 409": (
        (_RAD108, "test_some_stored_is_202_with_the_failures"),
        (_RAD108, "test_an_instance_of_another_study_than_the_path_is_409"),
    ),
    "WADO-URI without contentType is a JPEG": ((_RAD55, "test_what_comes_fits_both_parameter_and_header"),),
    "a gateway keeps good results beside an unknown community or repository": (
        (_RETRIEVALS, "test_what_cannot_be_had_is_an_error_beside_what_can"),
        (_RETRIEVALS, "test_an_actor_or_a_community_that_is_down_leaves_the_others"),
        (_QUERIES, "test_errors_of_a_community_are_located_there_beside_the_results_of_others"),
    ),
    "homeCommunityId is the attribute home of a query, as urn:oid:": (
        (_QUERIES, "test_with_a_home_it_goes_there_alone"),
    ),
    "a gateway passes RepositoryUniqueId and HomeCommunityId on": (
        (_RETRIEVALS, "test_documents_come_from_wherever_they_are_as_one_answer"),
        (_QUERIES, "test_objects_pass_as_they_came_but_for_their_home"),
    ),
    "memory does not grow with a study, and inline base64 is read": (
        (_RETRIEVALS, "test_a_large_answer_flows_and_is_never_held"),
        ("unit/soap/test_package.py", "test_inline_base64_of_any_size_becomes_a_file"),
    ),
    "cid: addresses are decoded before they are compared": (
        (_MESSAGES, "test_an_href_is_percent_decoded_before_it_is_looked_up"),
    ),
    "a study that grows is waited for, and its manifest replaced": (
        (_RAD68, "test_a_study_that_has_stopped_growing_is_published_by_itself"),
        (_RAD68, "test_a_grown_study_replaces_its_manifest"),
    ),
    "identifiers within instances stay as they are": (
        (_RAD69, "test_identifiers_of_the_instances_stay_as_they_are"),
    ),
    "a rejection leaves the manifest, and a study that is rejected is withdrawn": (
        (_RAD68, "test_a_rejected_instance_leaves_the_manifest"),
        (f"{_SOURCE}/test_reconciliation.py", "test_a_study_of_which_everything_is_rejected_is_withdrawn"),
    ),
    "MADO counts, codes and names as published": (
        (f"{_UNIT}/test_mado.py", "test_every_instance_is_named_three_times_and_counted_rightly"),
        (f"{_UNIT}/test_mado.py", "test_a_study_that_tells_nothing_has_a_manifest_without_errors"),
    ),
    "a Retrieve URL leads to peers alone": (
        (_RETRIEVED, "test_a_retrieve_url_that_is_no_peer_is_told_in_a_sentence_and_nobody_is_asked"),
    ),
    "DICOM JSON ascends by tag at every level": (
        ("unit/dicom/test_dicom_json.py", "test_members_ascend_by_tag_at_every_level"),
        (_RAD108, "test_the_answer_is_json_that_ascends_by_tag_in_every_item"),
    ),
    "an unknown parameter of rendering has no say, a bad value is refused": (
        (f"{_SOURCE}/test_rendered.py", "test_a_parameter_that_is_not_known_has_no_say"),
        (f"{_SOURCE}/test_rendered.py", "test_a_value_that_a_parameter_cannot_have_is_refused"),
    ),
    "UIDs are trimmed, and not normalised": (
        ("unit/dicom/test_part10.py", "test_a_uid_may_be_padded_and_is_not_normalised"),
    ),
    # Reports beside images.
    "a PDF report has the media type and formatCode of its kind": (
        (f"{_SOURCE}/test_reports.py", "test_a_pdf_is_registered_beside_the_manifest_of_its_study"),
    ),
    "a text report is wrapped in CDA, whose id and time are those of its entry": (
        (f"{_SOURCE}/test_reports.py", "test_a_text_is_wrapped_in_a_cda_document"),
    ),
    "the uniqueId of a CDA report is its id": (
        (f"{_SOURCE}/test_reports.py", "test_a_cda_document_is_registered_as_it_is"),
    ),
    "a report names order and study in the words of the manifest": (
        (f"{_SOURCE}/test_reports.py", "test_a_pdf_is_registered_beside_the_manifest_of_its_study"),
        (f"{_SOURCE}/test_reports.py", "test_a_consumer_shows_it_beside_its_images"),
    ),
    "structured reports and encapsulated documents are instances of the manifest": (
        (f"{_SOURCE}/test_reports.py", "test_a_report_that_is_an_instance_is_one_of_the_manifest"),
    ),
    "a report that is replaced is replaced by RPLC, and one that is cancelled deprecated": (
        (f"{_SOURCE}/test_reports.py", "test_a_corrected_report_takes_the_place_of_the_former"),
        (f"{_SOURCE}/test_reports.py", "test_a_cancelled_report_is_withdrawn"),
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_held_by_tests_that_there_are(rule: str):
    for file, name in RULES[rule]:
        tests = {
            node.name
            for node in ast.walk(tree_of(ROOT / "tests" / file))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert name in tests, f"{file} has no test {name}, which holds that {rule}"
