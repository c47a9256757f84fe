"""Masked language modelling on packed tokens (Devlin et al. 2018, arXiv:1810.04805)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from beam_bert.encoder.packing import PackedBatch
from beam_bert.encoder.plan import Int64Array, plan_micro_batches
from beam_bert.errors import ModelError
from beam_bert.settings.training import PretrainConfig
from beam_bert.slices.token_arrays import TokenArrays
from beam_bert.tokenization.loading import load_tokenizer
from beam_bert.training.network import PackedNetwork, as_encoder_config, from_pretrained, packed

_DEV_SEED = 20_190_524  # the same tokens are hidden at each evaluation, of any run


class LanguageModel(PackedNetwork):
    """A packed encoder under transformers' own masked-language-model head."""

    def guesses(self, hidden: Tensor) -> Tensor:
        """Logits [n, vocabulary] from hidden states [n, hidden] of hidden tokens."""
        model = self.model
        family = self.config.family
        if family == "bert":
            out: Tensor = model.get_submodule("cls")(hidden)
        elif family == "distilbert":
            transformed = F.gelu(model.get_submodule("vocab_transform")(hidden))
            out = model.get_submodule("vocab_projector")(
                model.get_submodule("vocab_layer_norm")(transformed)
            )
        elif family == "electra":
            out = model.get_submodule("generator_lm_head")(
                model.get_submodule("generator_predictions")(hidden)
            )
        else:
            out = model.get_submodule("lm_head")(hidden)
        return out


def load_language_model(folder: Path, device: torch.device) -> LanguageModel:
    """The checkpoint's encoder and, where it has one, its masked-language-model head.

    Raises:
      ModelError: it cannot be loaded.
    """
    model = from_pretrained("AutoModelForMaskedLM", folder)
    return LanguageModel(model.float().to(device), as_encoder_config(model))


def find_mask_token(folder: Path) -> int | None:
    """Id of the tokenizer's mask; None where it has none."""
    tokenizer = load_tokenizer(folder)
    return None if tokenizer.mask_token_id is None else int(tokenizer.mask_token_id)


def mask_token(folder: Path) -> int:
    """Id of the tokenizer's mask; raises ModelError where it has none."""
    token = find_mask_token(folder)
    if token is None:
        raise ModelError(f"model {folder}: its tokenizer has no mask token, so it cannot pre-train")
    return token


def drop_words(batch: PackedBatch, rate: float, mask_id: int) -> PackedBatch:
    """The batch with a share of its tokens masked, drawn from torch's seed; special ones stay."""
    ids = batch.input_ids
    scores = _scores(batch, None)
    masked = ids.masked_fill((scores < rate).to(ids.device), mask_id)
    return PackedBatch(masked, batch.position_rows, batch.first_tokens, batch.boundaries)


def _scores(batch: PackedBatch, generator: torch.Generator | None) -> Tensor:
    """A number below 1 for each token that may be hidden, 2 for special ones.

    A sequence begins and ends with one; what it ends with also stands between the texts of a pair.
    """
    scores = torch.rand(len(batch.input_ids), generator=generator)
    ends = batch.boundaries.starts.cpu().long()
    ids = batch.input_ids.cpu()
    scores[ends[:-1]] = 2.0
    last = ids[ends[1:] - 1]
    scores[ends[1:] - 1] = 2.0
    if bool((last == last[0]).all()):  # as tokenizers have it
        scores[ids == last[0]] = 2.0
    return scores


def hide(
    batch: PackedBatch, rate: float, mask_id: int, vocab_size: int, generator: torch.Generator
) -> tuple[PackedBatch, Tensor]:
    """Choose tokens to guess, and hide most of them.

    Of the chosen, 8 in 10 become the mask, 1 in 10 another token, 1 in 10 stay. The first and last
    token of a sequence, which are special, are never chosen; at least one token is.

    Returns:
      The batch with tokens hidden, and int64 [chosen] their places in it.
    """
    ids = batch.input_ids
    scores = _scores(batch, generator)
    places = torch.nonzero(scores < rate)[:, 0]
    if not len(places):
        places = scores.argmin()[None]
    hidden = ids.clone()
    fate = torch.rand(len(places), generator=generator)
    masked, swapped = places[fate < 0.8], places[fate >= 0.9]
    hidden[masked.to(ids.device)] = mask_id
    others = torch.randint(vocab_size, (len(swapped),), generator=generator, dtype=ids.dtype)
    hidden[swapped.to(ids.device)] = others.to(ids.device)
    changed = PackedBatch(hidden, batch.position_rows, batch.first_tokens, batch.boundaries)
    return changed, places.to(ids.device)


class MaskedObjective:
    """Pre-training as `beam_bert.training.loop` runs it."""

    metric = "masked_accuracy"

    def __init__(
        self,
        network: LanguageModel,
        train: TokenArrays,
        dev: TokenArrays,
        config: PretrainConfig,
        *,
        mask_id: int,
        device: torch.device,
    ) -> None:
        self._network, self._train, self._dev = network, train, dev
        self._config, self._mask_id, self._device = config, mask_id, device
        self.dev_size = max(1, round(config.mask_rate * len(dev.ids)))

    def loss(self, rows: Int64Array) -> Tensor:
        """The mean loss over hidden tokens of these sequences."""
        seed = int(torch.randint(2**62, (1,)))  # from the step's own seed
        guesses, true = self._guess(self._train, rows, torch.Generator().manual_seed(seed))
        return F.cross_entropy(guesses.float(), true)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Loss and accuracy over hidden tokens of dev, always the same ones."""
        self._network.eval()
        generator = torch.Generator().manual_seed(_DEV_SEED)
        loss, hits, count = 0.0, 0, 0
        for plan in plan_micro_batches(self._dev.lengths, self._config.batch_tokens):
            guesses, true = self._guess(self._dev, plan.rows, generator)
            loss += float(F.cross_entropy(guesses.float(), true, reduction="sum"))
            hits += int((guesses.argmax(dim=1) == true).sum())
            count += len(true)
        mean = loss / count
        return {
            "masked_accuracy": hits / count,
            "masked_loss": mean,
            "perplexity": float(np.exp(min(mean, 50.0))),
        }

    def _guess(
        self, tokens: TokenArrays, rows: Int64Array, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        batch, _ = packed(tokens, rows, self._network.config, self._device)
        config = self._network.config
        hidden, places = hide(
            batch, self._config.mask_rate, self._mask_id, config.vocab_size, generator
        )
        states = self._network.hidden(hidden, first_tokens_only=False)
        return self._network.guesses(states[places]), batch.input_ids[places].long()
