"""A name and its neighbours: what is part of a longer word is not the person, in every writing; all else is."""

import dataclasses
import html
import json
import re
import unicodedata
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

import t1djax
from t1djax.privacy._person import Person
from t1djax.privacy._readings import Readings
from t1djax.privacy._scrub import clean

FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
WRITTEN: dict[str, Callable[[str], bytes]] = {
    "UTF-8": str.encode,
    "UTF-16, little": lambda x: x.encode("utf-16-le"),
    "UTF-16, big": lambda x: x.encode("utf-16-be"),
    "UTF-16, marked": lambda x: x.encode("utf-16"),
    "JSON": lambda x: json.dumps(x).encode(),
    "JSON in JSON": lambda x: json.dumps(json.dumps(x)).encode(),
    "JSON, upper": lambda x: re.sub(r"(?<=\\u)[0-9a-f]{4}", lambda m: m[0].upper(), json.dumps(x)).encode(),
    "URL": lambda x: urllib.parse.quote(x, safe="").encode(),
    "HTML": lambda x: html.escape(x).encode("ascii", "xmlcharrefreplace"),
    "YAML": lambda x: x.encode("unicode_escape"),
    "Python's bytes": lambda x: repr(x.encode())[2:-1].encode(),
}
OF_THE_PERSON = [way for way in WRITTEN if way not in ("Python's bytes", "JSON in JSON")]
"""The writings in which a name beyond ASCII is looked for; what stands beside it is read in all."""
ACCENTED = "áéíóúàèçñöüßãåøžščćřěůőłđıİșțơư"
ASIDE = " .,;:/-_()'\"\n\t\u00a0\u2014\u201c\u201d\u2019\u2026\u00b7|+=<>"


def spelt(name: str) -> list[str]:
    return [unicodedata.normalize(form, name) for form in FORMS]


@pytest.mark.parametrize("way", WRITTEN)
@pytest.mark.parametrize(("name", "longer"), [("Anton", "Antonín"), ("Jos", "José"), ("Jose", "José"),
                                              ("nio", "Eugénio"),
                                              ("Ivan", "Ivančić"), ("Anton", "Antonž"), ("Zoe", "Zoë")])  # fmt: skip
def test_a_name_in_a_longer_one_is_not_the_person(name: str, longer: str, way: str) -> None:
    for other in spelt(longer):
        if name in other:
            for text in (other, f"{other} came", f"to {other}, late"):
                assert Person(name).in_bytes(WRITTEN[way](text)) is None, text
                assert Person(name, [other]).in_bytes(WRITTEN[way](text), packed=True) is None, text
                assert not Person(name).in_text(text)
                assert Person(name).masked(text, forms=True) == text
        both = f"{other} and {name}; {other}"
        assert Person(name).in_bytes(WRITTEN[way](both)) is not None
        assert Person(name).masked(both) == f"{other} and [removed]; {other}"


@pytest.mark.parametrize("way", OF_THE_PERSON)
@pytest.mark.parametrize("name", ["José", "Zoë & Co", "Nguyễn Thị", "Åse"])
def test_both_spellings_are_the_person(name: str, way: str) -> None:
    for asked in spelt(name):
        person = Person(asked, ["Benno"])
        for there in spelt(name):
            assert person.same(there)
            text = f"Benno, {there}: late"
            assert person.in_bytes(WRITTEN[way](text)) is not None
            assert person.in_text(text)
            assert person.masked(text) == "Benno, [removed]: late"


SIGNS = st.just("") | st.sampled_from(ASIDE + "漢の한ไعשЖ❤\U0001f600")
"""What may stand beside a Latin name without being part of its word."""


@settings(max_examples=150, deadline=None)
@given(data=st.data(), way=st.sampled_from(list(WRITTEN)), name=st.sampled_from(["Anton", "Quixote7", "Mary Ann"]))
def test_a_name_on_its_own_is_found_whatever_is_beside_it(data: Any, way: str, name: str) -> None:
    before, after = data.draw(SIGNS), data.draw(SIGNS)
    rest = st.text(ASIDE + ACCENTED + "abcXYZ019漢の", max_size=20)
    text = data.draw(rest) + " " * (before == "") + before + name + after + " " * (after == "") + data.draw(rest)
    assert Person(name).in_bytes(WRITTEN[way](text)) is not None
    if way.startswith("UTF"):
        assert Person(name).in_text(text)
        left = Person(name).masked(text, "\u2588")
        assert left.replace("\u2588", name) == text
        assert not Person(name).in_text(left)


@settings(max_examples=150, deadline=None)
@example(way="UTF-16, big", before="x", after="z\u030c", end=" ")
@example(way="UTF-16, little", before="x", after="č", end="a")
@given(
    way=st.sampled_from(list(WRITTEN)),
    before=st.sampled_from(ACCENTED + "xZ7"),
    after=st.sampled_from(ACCENTED + "xZ7") | st.sampled_from(["", "a", "z"]).map(lambda x: x + "\u0301"),
    end=st.sampled_from(" .,;-/\n"),
)
def test_a_letter_beside_it_makes_it_another_word(way: str, before: str, after: str, end: str) -> None:
    for one, other in ((before, after), ("", after), (before, "")):
        text = f"to {one}Anton{other}{end}"
        assert Person("Anton").in_bytes(WRITTEN[way](text)) is None, text


@given(data=st.binary(max_size=400))
@settings(max_examples=100, deadline=None)
def test_any_bytes_can_be_searched(data: bytes) -> None:
    """Bytes that are no text on either side end the word: such a name is found."""
    person = Person("Quixote7")
    assert person.in_bytes(data) is None
    assert person.in_bytes(data + b"\xff\x00Quixote7\x00\xff" + data) is not None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("患者李明来了", True),  # no spaces between words
        ("민준이가 왔다", True),  # particles are joined
        ("Антона", False),
        ("\N{HEAVY BLACK HEART}\ufe0fАнтон", True),  # noqa: RUF001 - a mark of a sign that is none of a word
        ("Анто\u0301н", False),
        (r"C:\Антон\users", True),
        ("Антон&nbsp;x", True),
        ("Антон&yacute;", True),  # of another script
    ],
)
def test_words_of_other_scripts(text: str, found: bool) -> None:
    person = next(Person(name) for name in ("李明", "민준", "Антон") if name in text or text == "Анто\u0301н")
    assert (person.in_bytes(text.encode()) is not None) is found
    assert person.in_text(text) is found


def test_files_of_one_with_a_longer_name_stay() -> None:
    """Whose name stands there in the other spelling is somebody else all the same."""
    none = Readings([])
    for other in spelt("Antonín"):
        person = Person("Anton", [spelt("Antonín")[0], "Benno"])
        listed = json.dumps({"patient": other, "x": 1}).encode()
        assert clean(person, none, "a.json", listed).action == "keep"
        both = f"patient,x\n{other},1\nAnton,2\n".encode()
        assert clean(person, none, "t.csv", both).data == f"patient,x\n{other},1\n".encode()
        assert not person.alone_in(f"Anton and {other}.csv")


def people(folder: Path, *names: str) -> t1djax.Cohort:
    """Data of people of these names."""
    cohort = t1djax.reference_cohort(interval_min=30, names=["Pat2", "Pat3"])
    named = t1djax.Cohort(tuple(dataclasses.replace(p, name=n) for p, n in zip(cohort, names, strict=True)))
    t1djax.write_cohort(named, folder)
    return named


@pytest.mark.filterwarnings("ignore:.*below 40")
def test_one_whose_name_is_in_a_longer_one_can_be_forgotten(tmp_path: Path) -> None:
    people(tmp_path / "data", "Anton", "Antonín")
    (tmp_path / "also").mkdir()
    notes = [f"{x} came\n".encode(how) for x in spelt("Antonín") for how in ("utf-8", "utf-16")]
    for i, note in enumerate(notes):
        (tmp_path / "also" / f"{i}.txt").write_bytes(note)
    done = t1djax.forget("Anton", data=tmp_path / "data", also=tmp_path / "also")
    assert done.complete, done.remains
    assert t1djax.read_cohort(tmp_path / "data").names == ("Antonín",)
    assert [(tmp_path / "also" / f"{i}.txt").read_bytes() for i in range(len(notes))] == notes


@pytest.mark.filterwarnings("ignore:.*below 40")
def test_either_spelling_of_a_name_removes_the_person(tmp_path: Path) -> None:
    composed, apart = spelt("José")
    people(tmp_path / "data", apart, "Benno")
    results = tmp_path / "results"
    for number, name in enumerate([composed, apart, "Benno"]):
        (results / f"{number}").mkdir(parents=True)
        said = {"format": "t1djax.result", "patient": name, "config": {"patients": f"{name},Benno"}}
        (results / f"{number}" / "metadata.json").write_text(json.dumps(said, ensure_ascii=number > 0))
    (results / f"{composed}.svg").write_text("<svg/>")
    (results / "notes.txt").write_text(f"{composed}, {apart} and Benno\n")
    done = t1djax.forget(composed, data=tmp_path / "data", results=results)
    assert done.complete, done.remains
    assert done.readings > 0
    assert t1djax.read_cohort(tmp_path / "data").names == ("Benno",)
    assert [p.parent.name for p in results.glob("*/metadata.json")] == ["2"]
    assert (results / "notes.txt").read_text() == "[removed], [removed] and Benno\n"
    for file in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert b"Jos" not in file.read_bytes() + file.name.encode(), file
