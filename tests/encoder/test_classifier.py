"""The scores are those of `transformers`, whatever else is in the batch."""

from __future__ import annotations

import logging
import threading
import weakref

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_bert.encoder import SequenceClassifier, load_classifier
from beam_bert.encoder.cpu_threads import CPU_THREADS, CpuThreads
from beam_bert.errors import ConfigError, ModelError, RunFailed

from .conftest import (
    CONFIGS,
    LABELS,
    VOCAB_SIZE,
    company_tolerance,
    make_model,
    packed,
    random_sequences,
    reference_logits,
)

MIXED = [1, 2, 3, 7, 7, 7, 12, 33, 64, 64, 100, 127, 128, 129, 300, 511, 512]


@pytest.fixture(scope="module")
def bert(checkpoint) -> SequenceClassifier:
    folder, _ = checkpoint("bert")
    return load_classifier(folder, precision="fp32", device="cpu", batch_tokens=4_096)


@pytest.fixture(scope="module")
def in_precision(checkpoint, bert) -> dict[str, SequenceClassifier]:
    folder, _ = checkpoint("bert")
    others = ("bf16", "int8")
    return {"fp32": bert} | {
        precision: load_classifier(folder, precision=precision, device="cpu", batch_tokens=4_096)
        for precision in others
    }


@pytest.mark.parametrize("family", CONFIGS)
def test_fp32_logits_equal_transformers(checkpoint, family):
    folder, reference = checkpoint(family)
    sequences = random_sequences(MIXED)
    got = load_classifier(folder, precision="fp32").logits(*packed(sequences))
    expected = reference_logits(reference, sequences)
    assert np.abs(expected).max() > 0.5, "the test model says nothing"
    np.testing.assert_allclose(got, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", CONFIGS)
def test_bf16_logits_are_close_to_transformers_fp32(checkpoint, family):
    folder, reference = checkpoint(family)
    sequences = random_sequences(MIXED)
    got = load_classifier(folder, precision="bf16").logits(*packed(sequences))
    np.testing.assert_allclose(got, reference_logits(reference, sequences), atol=4e-2, rtol=0)


@pytest.mark.parametrize("family", CONFIGS)
def test_int8_logits_are_close_to_transformers_fp32(checkpoint, family):
    folder, reference = checkpoint(family)
    sequences = random_sequences(MIXED)
    got = load_classifier(folder, precision="int8", device="cpu").logits(*packed(sequences))
    np.testing.assert_allclose(got, reference_logits(reference, sequences), atol=0.1, rtol=0)


@pytest.mark.parametrize("family", ["bert", "electra"])
def test_second_segments_get_their_token_type(checkpoint, family):
    folder, reference = checkpoint(family)
    sequences = random_sequences([2, 10, 10, 40])
    first_lengths = [1, 5, 10, 39]
    model = load_classifier(folder, precision="fp32")
    got = model.logits(*packed(sequences), np.array(first_lengths, dtype=np.int32))
    expected = reference_logits(reference, sequences, first_lengths)
    np.testing.assert_allclose(got, expected, atol=1e-4, rtol=0)
    assert not np.allclose(got, model.logits(*packed(sequences)), atol=1e-3)


@pytest.mark.parametrize("family", ["roberta", "distilbert"])
def test_segments_are_ignored_where_the_family_has_no_token_types(checkpoint, family):
    model = load_classifier(checkpoint(family)[0], precision="fp32")
    arrays = packed(random_sequences([10, 20]))
    first_lengths = np.array([3, 4], dtype=np.int32)
    np.testing.assert_array_equal(model.logits(*arrays, first_lengths), model.logits(*arrays))


def test_checkpoint_stored_in_bf16_is_read(checkpoint, tmp_path):
    _, reference = checkpoint("bert")
    import copy

    copy.deepcopy(reference).to(torch.bfloat16).save_pretrained(tmp_path)
    sequences = random_sequences(MIXED)
    got = load_classifier(tmp_path, precision="fp32").logits(*packed(sequences))
    np.testing.assert_allclose(got, reference_logits(reference, sequences), atol=3e-2, rtol=0)


def test_sharded_checkpoint_is_read(checkpoint, bert, tmp_path):
    checkpoint("bert")[1].save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    arrays = packed(random_sequences(MIXED))
    got = load_classifier(tmp_path, precision="fp32").logits(*arrays)
    np.testing.assert_array_equal(got, bert.logits(*arrays))


sequence_lengths = st.lists(st.integers(1, 512), max_size=12)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@settings(max_examples=20, deadline=None)
@given(lengths=sequence_lengths, batch_tokens=st.integers(1, 2_000), data=st.data())
def test_order_company_and_batch_size_do_not_matter(
    in_precision, precision, lengths, batch_tokens, data
):
    bert = in_precision[precision]
    sequences = random_sequences(lengths)
    alone = [bert.logits(*packed([sequence]))[0] for sequence in sequences]
    order = data.draw(st.permutations(range(len(sequences))))
    usual = bert.batch_tokens
    try:
        bert.batch_tokens = batch_tokens
        together = bert.logits(*packed([sequences[i] for i in order]))
    finally:
        bert.batch_tokens = usual
    assert together.shape == (len(sequences), LABELS)
    for place, i in enumerate(order):
        np.testing.assert_allclose(
            together[place], alone[i], rtol=0, atol=company_tolerance(precision)
        )


def test_no_sequences_give_no_rows(bert):
    logits = bert.logits(np.zeros(0, np.int32), np.zeros(1, np.int64))
    assert logits.shape == (0, LABELS)
    assert logits.dtype == np.float32


def test_duplicates_are_computed_once_and_answered_each(bert, monkeypatch):
    tokens_seen = []
    forward = bert._encoder.forward
    monkeypatch.setattr(
        bert._encoder,
        "forward",
        lambda batch, **kw: (tokens_seen.append(len(batch.input_ids)), forward(batch, **kw))[1],
    )
    one, other = random_sequences([9, 5])
    got = bert.logits(*packed([one, other, one, one, other]))
    assert sum(tokens_seen) == 14
    np.testing.assert_array_equal(got[[0, 1, 0, 0, 1]], got)
    assert not np.allclose(got[0], got[1])


def test_same_tokens_with_other_segments_are_not_duplicates(bert):
    sequence = random_sequences([9])[0]
    got = bert.logits(*packed([sequence, sequence]), np.array([3, 6], dtype=np.int32))
    assert not np.allclose(got[0], got[1])


def test_progress_counts_every_sequence_once(bert):
    sequences = random_sequences([400, 400, 3, 3, 8]) * 2
    finished: list[int] = []

    def finish(count: int, tokens: int) -> None:
        finished.append(count)

    model_tokens, bert.batch_tokens = bert.batch_tokens, 500
    try:
        bert.logits(*packed(sequences), on_batch=finish)
    finally:
        bert.batch_tokens = model_tokens
    assert len(finished) > 1
    assert sum(finished) == 10


def test_nan_is_returned_as_nan_and_only_for_its_own_sequence(checkpoint, tmp_path):
    import copy

    model = copy.deepcopy(checkpoint("bert")[1])
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[7] = float("nan")
    model.save_pretrained(tmp_path)
    got = load_classifier(tmp_path, precision="fp32").logits(*packed([[8, 9], [7, 9], [9, 10]]))
    assert np.isnan(got).all(axis=1).tolist() == [False, True, False]


def test_loaded_model_can_be_weakly_referenced(bert):
    assert weakref.ref(bert)() is bert


def test_threads_share_one_model(bert):
    arrays = packed(random_sequences(MIXED))
    expected = bert.logits(*arrays)
    results: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda: results.append(bert.logits(*arrays))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_another_number_of_threads_gives_the_same_bits(checkpoint, precision, monkeypatch):
    model = load_classifier(checkpoint("bert")[0], precision=precision, device="cpu")
    arrays = packed(random_sequences([300, 7, 120, 7, 500, 31] * 20))
    usual = torch.get_num_threads()
    got = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            monkeypatch.setattr(model, "_threads", CpuThreads())
            got.append(model.logits(*arrays))
            assert model._threads.count == threads
            assert torch.get_num_threads() == threads, "others compute on as many as before"
    finally:
        torch.set_num_threads(usual)
    for other in got[1:]:
        np.testing.assert_allclose(other, got[0], rtol=0, atol=company_tolerance(precision))


def test_callers_that_overlap_leave_all_threads_to_the_next_one():
    """Dataflow's workers have four such callers; one core of them all was left."""
    usual = torch.get_num_threads()
    torch.set_num_threads(3)
    cpu_threads, seen = CpuThreads(), []
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    def second():
        first_in.wait()
        with cpu_threads.open():
            second_in.set()
            first_out.wait()
        seen.append(torch.get_num_threads())

    other = threading.Thread(target=second)
    other.start()
    try:
        with cpu_threads.open():
            first_in.set()
            second_in.wait()
        first_out.set()
        other.join()
        for _ in range(2):
            with cpu_threads.open() as pool:
                inside = set(pool.map(lambda _: torch.get_num_threads(), range(12)))
                assert (inside, cpu_threads.count) == ({1}, 3)
            assert torch.get_num_threads() == 3
        new = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        new.start()
        new.join()
        assert seen == [3, 3], "nor is a thread that begins later left with one"
    finally:
        torch.set_num_threads(usual)


def test_a_model_that_fails_on_one_thread_says_so_and_the_next_call_is_whole(bert, monkeypatch):
    forward = bert._encoder.forward
    arrays = packed(random_sequences([100] * 40))
    monkeypatch.setattr(bert, "batch_tokens", 300)
    expected = bert.logits(*arrays)

    def breaks(batch, **kwargs):
        if len(batch.first_tokens) < 3:  # the last of 40
            raise RuntimeError("broken")
        return forward(batch, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(bert._encoder, "forward", breaks)
        with pytest.raises(RuntimeError, match="broken"):
            bert.logits(*arrays)
    np.testing.assert_array_equal(bert.logits(*arrays), expected)


def test_token_outside_the_vocabulary_names_the_tokenizer(bert):
    with pytest.raises(ModelError, match=f"token id {VOCAB_SIZE} .* use the tokenizer"):
        bert.logits(*packed([[5, VOCAB_SIZE]]))


@pytest.mark.parametrize("length", [0, 513])
def test_sequence_of_impossible_length_is_refused(bert, length):
    with pytest.raises(ValueError, match="takes 1 to 512"):
        bert.logits(*packed([[5], [5] * length]))


def test_out_of_memory_halves_the_micro_batch_and_goes_on(bert, monkeypatch, caplog):
    forward, usual = bert._encoder.forward, bert.batch_tokens

    def small_gpu(batch, **kwargs):
        if len(batch.input_ids) > 300:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return forward(batch, **kwargs)

    arrays = packed(random_sequences([50] * 30))
    expected = bert.logits(*arrays)
    monkeypatch.setattr(bert._encoder, "forward", small_gpu)
    monkeypatch.setattr(bert, "_threads", None)
    finished: list[int] = []
    try:
        with caplog.at_level(logging.WARNING):
            got = bert.logits(*arrays, on_batch=lambda count, tokens: finished.append(count))
        assert bert.batch_tokens <= 300
        assert sum(finished) == 30
        np.testing.assert_allclose(got, expected, rtol=0, atol=company_tolerance("fp32"))
        with pytest.raises(RunFailed, match="one sequence of 400 tokens"):
            bert.logits(*packed(random_sequences([400])))
    finally:
        bert.batch_tokens = usual


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_memory_of_a_forward_is_known_before_it_runs(tmp_path, monkeypatch, precision):
    wide = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2}
    config = transformers.BertConfig(
        vocab_size=VOCAB_SIZE, num_attention_heads=2, num_labels=2, **wide
    )
    make_model(config).save_pretrained(tmp_path)
    model = load_classifier(tmp_path, precision=precision, device="cpu", batch_tokens=16_384)
    arrays = packed(random_sequences([512] * 40))
    of_all_threads = model.forward_bytes
    monkeypatch.setattr(model, "_threads", None)  # the profiler sees its own thread alone
    assert of_all_threads == CPU_THREADS.count * model.forward_bytes
    with torch.profiler.profile(profile_memory=True) as profiler:
        model.logits(*arrays)
    used = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            used += event.nbytes()
            peak = max(peak, used)
    assert 0.4 * model.forward_bytes < peak <= model.forward_bytes


def test_unknown_precision_and_absent_device_are_refused(checkpoint):
    folder, _ = checkpoint("bert")
    with pytest.raises(ConfigError, match="precision 'fp64' is unknown"):
        load_classifier(folder, precision="fp64")
    with pytest.raises(ConfigError, match="fp8 runs on GPUs; on a CPU use int8"):
        load_classifier(folder, precision="fp8", device="cpu")
    with pytest.raises(ConfigError, match="device 'tpu' is unknown"):
        load_classifier(folder, device="tpu")
    with pytest.raises(ConfigError, match=r"device 'cuda:99' is not here"):
        load_classifier(folder, device="cuda:99")
    with pytest.raises(ConfigError, match="batch_tokens must be positive"):
        load_classifier(folder, batch_tokens=0)


def test_auto_resolves_to_what_it_runs(checkpoint):
    model = load_classifier(checkpoint("bert")[0], batch_tokens=123)
    assert model.precision in ("fp32", "bf16")
    assert model.device.split(":")[0] in ("cpu", "cuda")
    assert model.batch_tokens == 123
    assert model.config.labels == tuple(f"LABEL_{i}" for i in range(LABELS))
