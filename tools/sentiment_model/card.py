"""The model card of the embedded sentiment model: card.md beside it, filled in."""

from pathlib import Path

from transformers import BertConfig

TEMPLATE = Path(__file__).with_suffix(".md")


def model_card(
    table: str, config: BertConfig, parameters: int, temperature: float, held_out: int, emoji: int
) -> str:
    """Fill in the card, in Hugging Face's form."""
    return TEMPLATE.read_text(encoding="utf-8").format(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        vocabulary=f"{config.vocab_size:,}",
        millions=parameters / 1e6,
        table=table,
        temperature=temperature,
        held_out=held_out,
        emoji=f"{emoji:,}",
    )
