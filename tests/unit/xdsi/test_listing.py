"""Lists: golden texts at 80 columns and in a pipe; ids stay whole whatever the width."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from xdsi.listing import Column, counted, lines

UID = "2.25.340282366920938463463374607431768211455"
LONGEST = "1.3.6.1.4.1.14519.5.2.1.7009.2403.3342191073730" + "9" * 17
COLUMNS = (Column("date"), Column("study"), Column("manifest", is_id=True))


def shown(*rows, width=80, columns=COLUMNS):
    return "\n".join(lines(columns, rows, width=width))


def test_what_fits_stands_in_one_line_each():
    assert shown(("2026-09-01", "Chest", UID), ("2025", "CT of the head", "2.25.7")) == (
        "date        study           manifest\n"
        "2026-09-01  Chest           2.25.340282366920938463463374607431768211455\n"
        "2025        CT of the head  2.25.7"
    )


def test_what_does_not_fit_gives_each_id_a_line_of_its_own():
    assert shown(("2026-09-01", "Computed tomography of the thorax", LONGEST)) == (
        f"date        study\n2026-09-01  Computed tomography of the thorax\n  manifest {LONGEST}"
    )


def test_text_that_is_too_long_is_folded_at_words():
    assert shown(("2026-09-01", "a long title " * 4, UID), width=40) == (
        "date        study\n"
        "2026-09-01  a long title a long title a\n"
        "            long title a long title\n"
        f"  manifest {UID}"
    )


def test_a_pipe_has_no_width():
    assert shown(("2026-09-01", "long " * 40, LONGEST), width=None).splitlines()[1].endswith(LONGEST)


def test_an_empty_column_is_left_out_and_an_empty_list_has_no_heading():
    assert shown(("", "Chest", "2.25.7")) == "study  manifest\nChest  2.25.7"
    assert shown() == ""


def test_control_characters_are_shown_as_their_codes():
    assert "\x1b" not in shown(("", "red \x1b[31m", "2.25.7"))


def test_numbers_come_with_the_right_form():
    assert [counted(number, "study", "studies") for number in (0, 1, 1_200)] == [
        "0 studies",
        "1 study",
        "1,200 studies",
    ]


ids = st.from_regex(r"[012]\.[1-9][0-9]{0,18}\.[1-9][0-9]{0,40}", fullmatch=True)


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=90), ids), min_size=1), st.integers(30, 120))
def test_every_id_is_whole_and_everything_else_is_within_the_width(rows, width):
    written = shown(*rows, width=width).splitlines()

    for _, _, uid in rows:
        assert any(line.endswith(f" {uid}") or line == uid for line in written)
    assert all(cell_len(line) <= width or line.split()[-1] in {uid for *_, uid in rows} for line in written)
