"""What cannot be trained on: one clear line, exit code 2 or 1, and nothing written."""

from __future__ import annotations

import errno
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from filelock import FileLock

from beam_bert.errors import RunFailed
from beam_bert.models import ModelStore
from beam_bert.settings.training import FinetuneConfig
from beam_bert.training.classifier_rows import read_labelled
from beam_bert.training.loop import LoopSettings, Plan, Progress, train
from beam_bert.training.weights import finite
from pipelines.finetune import main
from tests.training.conftest import COMMON, labelled_rows, write_csv

Refused = Callable[..., str]
ROWS = labelled_rows(60)


def test_a_label_column_that_is_not_there(refused: Refused) -> None:
    assert "did you mean --label_column label?" in refused("--label_column", "lable")


def test_a_row_without_label(refused: Refused, tmp_path: Path) -> None:
    train = write_csv(tmp_path / "a.csv", [*labelled_rows(20), ("the film was good", "")])
    line = refused("--train", str(train))
    assert f"1 of 21 rows cannot be used, the first is {train}#20: there is no label" in line


def test_rows_without_label_may_be_left_out_and_are_told(
    finetune: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Pandas writes a number that is not there as NaN, and whole numbers beside it as floats."""
    rows = [{"text": text, "label": 1.0 if label == "good" else 2.0} for text, label in ROWS]
    train, dev = tmp_path / "a.parquet", tmp_path / "b.parquet"
    pq.write_table(pa.Table.from_pylist([*rows[10:], {"text": "no", "label": None}]), train)
    pq.write_table(pa.Table.from_pylist([*rows[:10], {"text": "no", "label": math.nan}]), dev)
    flags = ("--train", str(train), "--dev", str(dev), "--max_reject_rate", "0.1")
    folder = finetune(*flags)
    told = capfd.readouterr().err
    assert "1 rows of --train cannot be used and are left out" in told
    assert "1 rows of --dev cannot be used and are left out" in told
    assert "2 rows could not be used" in (folder / "README.md").read_text()
    assert json.loads((folder / "config.json").read_text())["id2label"] == {"0": "1", "1": "2"}


def test_a_null_text(refused: Refused, tmp_path: Path) -> None:
    rows = [json.dumps({"text": text, "label": label}) for text, label in labelled_rows(20)]
    train = tmp_path / "a.jsonl"
    train.write_text("\n".join([*rows, '{"text": null, "label": "good"}']) + "\n")
    line = refused("--train", str(train))
    assert f"1 of 21 rows cannot be used, the first is {train}#20: there is no text" in line


def test_null_texts_may_be_left_out(finetune: Callable[..., Path], tmp_path: Path) -> None:
    rows = [*labelled_rows(40), ("", "good")]
    train = write_csv(tmp_path / "a.csv", rows)
    folder = finetune("--train", str(train), "--max_reject_rate", "0.05")
    assert "1 rows could not be used" in (folder / "README.md").read_text()


def test_one_class_only(refused: Refused, tmp_path: Path) -> None:
    rows = [(text, "same") for text, _ in labelled_rows(20)]
    train = write_csv(tmp_path / "a.csv", rows)
    assert "every row has the label 'same'" in refused("--train", str(train))


def test_a_label_name_that_no_row_has_is_told(
    finetune: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    numbers = {"bad": "0", "fine": "1", "good": "3"}
    train = write_csv(tmp_path / "a.csv", [(text, numbers[label]) for text, label in ROWS])
    names = tmp_path / "names.txt"
    names.write_text("bad\nfine\nodd\ngood\n")
    finetune("--train", str(train), "--label_names", str(names), "--epochs", "1")
    assert "warning: no row of --train has odd of --label_names" in capfd.readouterr().err


def test_one_class_only_in_dev(refused: Refused, tmp_path: Path) -> None:
    rows = [(text, "7") for text, _ in labelled_rows(20, seed=9)]
    numbers = [(text, str(n)) for n, (text, _) in enumerate(labelled_rows(40))]
    dev = write_csv(tmp_path / "dev.csv", rows)
    classes = write_csv(tmp_path / "a.csv", [(text, str(7 + int(n) % 2)) for text, n in numbers])
    line = refused("--train", str(classes), "--dev", str(dev))
    assert "every row of --dev has the label '7'" in line
    values = write_csv(tmp_path / "b.csv", numbers)
    line = refused("--train", str(values), "--dev", str(dev), "--problem_type", "regression")
    assert "every row of --dev has the value 7.0" in line


def test_a_class_with_one_example(refused: Refused, tmp_path: Path) -> None:
    train = write_csv(tmp_path / "a.csv", [*labelled_rows(20), ("the film", "rare")])
    line = refused("--train", str(train))
    assert f"label 'rare' has one example only, {train}#20" in line


def test_a_class_that_only_dev_has_once_leaking_rows_are_out(
    refused: Refused, tmp_path: Path
) -> None:
    rare = [("the film", "rare"), ("a film", "rare")]
    train = write_csv(tmp_path / "a.csv", [*labelled_rows(20), *rare])
    dev = write_csv(tmp_path / "dev.csv", [*labelled_rows(20, seed=9), *rare])
    line = refused("--train", str(train), "--dev", str(dev))
    assert "label 'rare' has no row left to train on: --dev has all of them" in line


def test_an_alias_that_cannot_be_set_is_told_before_the_training(
    refused: Refused, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    flags = ("--layout", "store", "--output", str(store))
    assert "moves by promote and rollback only" in refused(*flags, "--alias", "production")
    assert "cannot be an alias" in refused(*flags, "--alias", "a b")
    assert not store.exists()


def test_an_output_that_would_hide_an_alias(refused: Refused, tmp_path: Path) -> None:
    store = tmp_path / "store@production"
    line = refused("--layout", "store", "--output", str(store))
    assert "name the store alone; --alias says which alias the version gets (candidate)" in line
    assert not store.exists()


def test_a_folder_that_is_a_bucket(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = refused("--output", "gs://bucket/model")
    assert "--layout folder writes a local folder" in line
    assert not (tmp_path / "gs:").exists()


def test_a_damaged_record_is_told_before_the_training(refused: Refused, tmp_path: Path) -> None:
    record = tmp_path / "store" / "versions" / "20261124T191200-abcdef.json"
    record.parent.mkdir(parents=True)
    record.write_text("{")
    line = refused("--layout", "store", "--output", str(tmp_path / "store"))
    assert f"{record} is damaged" in line


def test_a_label_of_dev_that_train_has_not(refused: Refused, tmp_path: Path) -> None:
    dev = write_csv(tmp_path / "dev.csv", [("never again", "strange")])
    line = refused("--dev", str(dev))
    assert f"--dev has labels that --train has not: 'strange'; the first stands at {dev}#0" in line


def test_training_rows_that_dev_has_are_refused_or_left_out(
    refused: Refused,
    finetune: Callable[..., Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    rows = labelled_rows(240)
    dev = write_csv(
        tmp_path / "dev.csv",
        [*labelled_rows(20, seed=9), (f"  {rows[3][0].upper()} ", rows[3][1])],
    )
    assert "1 of 240 training rows stand in --dev too" in refused(
        "--dev", str(dev), "--train_dev_overlap", "refuse"
    )
    folder = finetune("--dev", str(dev))
    assert "warning: 1 of 240 training rows stand in --dev too" in capfd.readouterr().err
    assert "1 training rows stood in dev too" in (folder / "README.md").read_text()


def test_one_text_with_two_labels_is_told(
    finetune: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = labelled_rows(240)
    other = next(label for _, label in rows if label != rows[3][1])
    train = write_csv(tmp_path / "a.csv", [*rows, (rows[3][0].upper(), other)])
    finetune("--train", str(train))
    told = capfd.readouterr().err
    assert "rows have a text that stands elsewhere with another label, the first at" in told


def test_one_text_with_two_values_is_nothing_odd(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [(f"text {number % 30}", str(number)) for number in range(60)]
    config = FinetuneConfig(
        train=(str(write_csv(tmp_path / "a.csv", rows)),),
        base="unread",
        output="unread",
        label_column="label",
        problem_type="regression",
    )
    data = read_labelled(config)
    assert len(data.train) + len(data.dev) == 60
    assert "warning" not in capfd.readouterr().err


def test_a_value_that_is_no_number(refused: Refused) -> None:
    assert "not a number" in refused("--problem_type", "regression")


def test_a_base_that_is_not_an_encoder(refused: Refused, tmp_path: Path) -> None:
    base = tmp_path / "gpt"
    base.mkdir()
    (base / "config.json").write_text('{"model_type": "gpt2"}')
    assert "'gpt2' is not an encoder" in refused("--base", str(base))


def test_a_base_that_is_cut_short(refused: Refused, encoder: Path, tmp_path: Path) -> None:
    base = tmp_path / "cut"
    base.mkdir()
    for file in encoder.iterdir():
        data = file.read_bytes()
        (base / file.name).write_bytes(data[:1000] if file.suffix == ".safetensors" else data)
    assert "cut short or damaged" in refused("--base", str(base))


def test_an_unknown_flag_suggests_the_nearest(refused: Refused) -> None:
    assert "did you mean --learning_rate?" in refused("--learning_rat", "1")


def test_settings_out_of_range(refused: Refused) -> None:
    assert "--holdout" in refused("--holdout", "1.5")
    assert "the model reads 64" in refused("--max_length", "65")
    assert "--unlabelled needs a --teacher" in refused("--unlabelled", "x.txt")


@pytest.mark.parametrize("rate", ["1e30", "1e10", "1000"])
def test_a_training_that_diverges_ends_in_a_line(refused: Refused, rate: str) -> None:
    """Once the loss is no number, or where it stays one and weights or logits do not."""
    line = refused("--learning_rate", rate, "--warmup", "0", "--ema_epochs", "0", code=1)
    assert "the training has diverged; lower --learning_rate" in line
    assert re.search(r"(loss is|loss was) \S+ at step \d+", line)


@pytest.mark.parametrize("problem", ["weights", "logits", "metrics"])
def test_a_network_that_runs_away_unseen_is_told_with_step_and_loss(
    tmp_path: Path, problem: str
) -> None:
    weights = torch.nn.Linear(2, 1)

    class Network:
        def trained_parameters(self) -> dict[str, torch.nn.Parameter]:
            return dict(weights.named_parameters())

        def depth_of(self, name: str) -> int:
            return 0

        def train(self, mode: bool = True) -> None:
            pass

    class Runaway:
        metric, dev_size = "accuracy", 10

        def loss(self, rows: object) -> torch.Tensor:
            return weights(torch.ones(1, 2)).square().mean()

        def evaluate(self) -> dict[str, float]:
            if problem == "logits":
                finite(np.array([1.0, np.inf]))
            return {"accuracy": math.nan if problem == "metrics" else 1.0}

    rate = math.inf if problem == "weights" else 1e-3
    settings = LoopSettings(rate, "constant", 0.0, 0.0, seed=0, bf16=False)
    plan = Plan([[np.array([0])]], settings)
    with pytest.raises(RunFailed, match=r"the loss was [\d.e-]+ at step 1: .* lower learning_rate"):
        train(Network(), Runaway(), plan, work=tmp_path, key="k", progress=Progress())


@pytest.mark.parametrize("flag", ["--learning_rate", "--weight_decay", "--teacher_temperature"])
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_settings_that_are_not_finite_are_refused(refused: Refused, flag: str, value: str) -> None:
    assert flag in refused(flag, value)


def test_texts_that_the_tokenizer_empties_are_rejects(
    refused: Refused,
    finetune: Callable[..., Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    empty = [("\u200b\u200d", "good"), ("\u00ad", "bad")]
    train = write_csv(tmp_path / "a.csv", [*labelled_rows(60), *empty])
    line = refused("--train", str(train))
    assert f"2 of 62 rows cannot be used, the first is {train}#6" in line
    assert "--max_reject_rate" in line
    dev = write_csv(tmp_path / "dev.csv", [*labelled_rows(20, seed=9), ("\u200b", "good")])
    flags = ("--train", str(train), "--dev", str(dev), "--max_reject_rate", "0.1")
    folder = finetune(*flags, "--epochs", "1")
    assert "warning: of 3 rows the tokenizer leaves nothing" in capfd.readouterr().err
    card = (folder / "README.md").read_text()
    assert "3 rows could not be used" in card and "Rows trained on: 60" in card


def test_labels_that_nothing_is_known_of_are_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [*labelled_rows(60), *[("we phone home", "odd")] * 3, ("a", "rare"), ("b", "rare")]
    train = write_csv(tmp_path / "a.csv", rows)
    dev = write_csv(tmp_path / "dev.csv", labelled_rows(20, seed=9))
    settings = {"base": "unread", "output": "unread", "label_column": "label"}
    read_labelled(FinetuneConfig(train=(str(train),), dev=(str(dev),), **settings))
    told = capfd.readouterr().err
    assert "warning: no dev row has odd, rare: nothing says how well" in told
    assert "warning: all rows of odd have the same text" in told
    read_labelled(FinetuneConfig(train=(str(train),), **settings))
    assert "warning: no dev row has odd: " in capfd.readouterr().err


def test_a_folder_that_holds_something_else_is_not_touched(
    finetune: Callable[..., Path], train_file: Path, encoder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "mine"
    output.mkdir()
    (output / "letter.txt").write_text("dear")
    flags = ["--train", str(train_file), "--label_column", "label", "--base", str(encoder)]
    assert main([*flags, "--output", str(output), *COMMON, "--overwrite"]) == 2
    assert (output / "letter.txt").read_text() == "dear"


def test_a_place_that_cannot_be_written_is_told_before_the_training(
    refused: Refused, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for layout in ("folder", "store"):
        line = refused("--layout", layout, "--output", "/proc/models/store")
        assert "/proc cannot be written" in line
    file = tmp_path / "file"
    file.write_text("")
    assert str(file) in refused("--layout", "store", "--output", str(file / "store"))


def test_of_two_of_the_same_training_at_once_one_is_told(
    refused: Refused,
    finetune: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr("beam_bert.training.run.work_folder", lambda *_: work)
    with FileLock(tmp_path / "work.lock"):
        assert f"the same training is running already, in {work}" in refused(code=1)
        assert not any(work.iterdir())
    finetune("--epochs", "1")


def test_a_disk_that_is_full_leaves_no_half_model_and_the_next_run_goes_on(
    refused: Refused,
    finetune: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from transformers import BertForSequenceClassification

    def full(self: object, folder: Path) -> None:
        (Path(folder) / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(BertForSequenceClassification, "save_pretrained", full)
        line = refused(code=1)
        assert "No space left on device; make room and run the same command again" in line
        store = str(tmp_path / "store")
        assert "No space left" in refused("--layout", "store", "--output", store, code=1)
    assert not ModelStore(store).exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    finetune("--epochs", "1")
    assert "going on from the checkpoint" in capfd.readouterr().err


def test_a_disk_that_is_full_at_a_checkpoint_ends_the_run(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beam_bert.training import checkpoint

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    assert "the checkpoint cannot be written" in refused(code=1)
