"""Files, folders and globs: what is found, what is skipped, and what the errors say."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from beam_bert.errors import InputError, ModelError, OutputError, printable
from beam_bert.models import resolve_model
from beam_bert.settings.inference import SentimentConfig
from beam_bert.sources import list_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "reviews-1.jsonl",
        "reviews-2.jsonl",
        "_SUCCESS",
        ".part.crc",
        "README.md",
        "deep/er/more.csv.gz",
        "_temporary/half.csv",
        ".cache/old.csv",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x\n")
    return tmp_path


def names(folder: Path, *patterns: str) -> list[str]:
    entries = list_files([str(folder / pattern) for pattern in patterns])
    assert all(entry.size == 2 for entry in entries)
    return [str(Path(entry.path).relative_to(folder)) for entry in entries]


def test_a_folder_is_read_with_its_subfolders_but_not_what_is_hidden(folder: Path) -> None:
    assert names(folder, "") == ["deep/er/more.csv.gz", "reviews-1.jsonl", "reviews-2.jsonl"]


def test_a_folder_without_known_suffixes_gives_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "part-0").write_text("x\n")
    (tmp_path / "_SUCCESS").write_text("x\n")
    assert names(tmp_path, "") == ["part-0"]


def test_globs_match_files_across_folders_with_two_stars(folder: Path) -> None:
    assert names(folder, "*.jsonl") == ["reviews-1.jsonl", "reviews-2.jsonl"]
    assert names(folder, "**/*.csv.gz") == ["deep/er/more.csv.gz"]
    assert names(folder, "*") == ["README.md", "reviews-1.jsonl", "reviews-2.jsonl"]
    assert names(folder, "reviews-[12].jsonl") == ["reviews-1.jsonl", "reviews-2.jsonl"]


def test_a_hidden_file_is_read_when_it_is_named(folder: Path) -> None:
    assert names(folder, "_SUCCESS") == ["_SUCCESS"]
    assert names(folder, "_SUC*") == ["_SUCCESS"]


def test_each_file_is_listed_once_and_in_order(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert names(folder, "reviews-2.jsonl", "*.jsonl", "./reviews-2.jsonl", "") == [
        "deep/er/more.csv.gz",
        "reviews-1.jsonl",
        "reviews-2.jsonl",
    ]
    monkeypatch.chdir(folder)
    (entry,) = list_files(["./reviews-1.jsonl", str(folder / "reviews-1.jsonl")])
    assert entry.path == "reviews-1.jsonl"


def test_a_name_with_wildcard_characters_is_found_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_text("x\n")
    assert names(tmp_path, "a[1].txt") == ["a[1].txt"]


def test_broken_links_and_pipes_in_a_folder_are_no_data(folder: Path) -> None:
    (folder / "broken.jsonl").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.jsonl")
    assert "broken.jsonl" not in names(folder, "")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        list_files([str(folder / "pipe.jsonl")])


def test_a_pattern_that_matches_nothing_names_what_is_near(folder: Path) -> None:
    pattern = str(folder / "review-1.jsonl")
    with pytest.raises(InputError, match=r"review-1.jsonl matches no file; did you mean") as error:
        list_files([str(folder / "*.jsonl"), pattern])
    assert str(folder / "reviews-1.jsonl") in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"\*\.tsv matches no file"):
        list_files([str(folder / "*.tsv")])
    with pytest.raises(InputError, match="matches no file"):
        list_files(["/no/such/folder/*.tsv"])


def test_what_holds_nothing_usable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / "sub").mkdir()
    with pytest.raises(InputError, match="holds no usable file"):
        list_files([str(tmp_path)])
    with pytest.raises(InputError, match="only folders and hidden files"):
        list_files([str(tmp_path / "*")])
    with pytest.raises(InputError, match="no input was given"):
        list_files([])


def test_a_file_that_may_not_be_read_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests may run as root, who may read anything: so the answer is given here.
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("-1.jsonl"))
    with pytest.raises(InputError, match=r"reviews-1.jsonl may not be read.*chmod"):
        list_files([str(folder / "*.jsonl")])


def test_local_files_need_no_beam(folder: Path) -> None:
    import subprocess

    code = (
        "import sys; from beam_bert.sources import list_files; "
        f"list_files([{str(folder)!r}]); sys.exit('apache_beam' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_url_of_an_unknown_kind_is_an_error_of_one_line() -> None:
    with pytest.raises(InputError, match=r"nope://x/y: no file system") as error:
        list_files(["nope://x/y"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("pattern", ["", "**/*.txt", "*/**/*.txt"])
def test_folders_that_link_to_themselves_are_walked_once(tmp_path: Path, pattern: str) -> None:
    deep = tmp_path / "in" / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "x.txt").write_text("x\n")
    for number in range(3):
        (tmp_path / "in" / "a" / f"again{number}").symlink_to(tmp_path / "in")
        (deep / f"up{number}").symlink_to(tmp_path / "in" / "a")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "y.txt").write_text("y\n")
    (tmp_path / "in" / "a" / "out").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "in", pattern) == ["a/b/x.txt", "a/out/y.txt"]


def test_a_file_has_one_identity_however_it_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "link").symlink_to(folder / "deep")
    (folder / "other.csv.gz").symlink_to(folder / "deep/er/more.csv.gz")
    monkeypatch.chdir(folder / "deep")
    monkeypatch.setenv("HOME", str(folder))
    ways = [
        "er/more.csv.gz",
        str(folder / "deep/er/more.csv.gz"),
        "../deep/er/more.csv.gz",
        "../link/er/more.csv.gz",
        "~/deep/er/*",
        f"file://{folder}/deep/er/more.csv.gz",
        "../other.csv.gz",
    ]
    assert {entry.identity for way in ways for entry in list_files([way])} == {
        str((folder / "deep/er/more.csv.gz").resolve())
    }
    assert len(list_files(ways)) == 1
    assert list_files(ways)[0].path == "er/more.csv.gz"  # as it was named first


def test_an_output_among_the_input_is_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (
        *("a.parquet", "deep/b.parquet", "out/predictions/p.parquet", "out/rejects/r.parquet"),
        *("models/m/config.json", "models/m/model.safetensors", "store/versions/v/config.json"),
        *("store/versions/v/model.safetensors", "store/versions/v.json", "store/aliases/0.json"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x\n")
    found = list_files([str(tmp_path)], apart=[f"{tmp_path}/out/../out", "gs://b/out"])
    assert [Path(file.path).name for file in found] == ["a.parquet", "b.parquet"]
    assert "2 files in" in caplog.text and "are not input" in caplog.text
    found = list_files([f"{tmp_path}/**/*.parquet"], apart=[f"{tmp_path}/out"])
    assert [Path(file.path).name for file in found] == ["a.parquet", "b.parquet"]
    # Input that lies in the output's own folder is input, what an output keeps there is not.
    found = list_files([f"{tmp_path}/out", f"{tmp_path}/a.parquet"], apart=[str(tmp_path)])
    assert [file.path for file in found if "out" in file.path] != []
    with pytest.raises(InputError, match="which is not input"):
        list_files([f"{tmp_path}/out"], apart=[f"{tmp_path}/out"])


def test_files_that_are_left_out_are_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.csv", "b.log", "noext"):
        (tmp_path / name).write_text("x")
    for _ in range(2):
        assert [Path(file.path).name for file in list_files([str(tmp_path)])] == ["a.csv"]
    assert capsys.readouterr().err.count("2 files are left out") == 1


@pytest.mark.parametrize(
    "place", ["~nosuch_user_/x", "x" * 300, "x/" * 3_000, "a\0b", "a\ud800", "file:///a%00"]
)
def test_what_cannot_be_a_path_is_one_line_wherever_it_is_opened(place: str) -> None:
    from beam_bert.storage.places import open_storage

    with pytest.raises(InputError) as listed:
        list_files([place])
    with pytest.raises(OutputError) as opened:
        open_storage(place)
    for error in (listed.value, opened.value):
        said = str(error)
        assert printable(said) == said and len(said) < 300 and said.encode()


def test_an_empty_name_is_not_the_current_folder() -> None:
    with pytest.raises(InputError, match="no input was given"):
        list_files([""])


def test_many_double_stars_are_one(folder: Path) -> None:
    names = [file.path for file in list_files([f"{folder}/**/*"])]
    assert [file.path for file in list_files([f"{folder}/{'**/' * 50}*"])] == names


def test_a_name_that_is_not_utf_8_is_told_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"d\xe9")
    folder.mkdir()
    (tmp_path / "good.txt").write_text("a")
    (folder / "a.txt").write_text("a")
    (tmp_path / os.fsdecode(b"b\xff.txt")).write_text("a")
    for pattern in (tmp_path, folder, tmp_path / "*.txt", tmp_path / os.fsdecode(b"b\xff.txt")):
        with pytest.raises(InputError, match=r"not UTF-8.*rename it: mv") as told:
            list_files([str(pattern)])
        assert re.search(r"\\(x|udc)(e9|ff)", str(told.value).encode().decode())
    for place in (folder, tmp_path / os.fsdecode(b"\xff.jsonl")):
        with pytest.raises(ValidationError, match=r"not UTF-8 \(.*x(e9|ff).*; rename it"):
            SentimentConfig(input=str(tmp_path), output=str(place))
    with pytest.raises(ModelError, match=r"not UTF-8 \(.*x(e9|ff).*; rename it"):
        resolve_model(str(folder))
