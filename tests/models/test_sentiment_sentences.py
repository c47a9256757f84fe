"""The embedded sentiment model on plain sentences that somebody would try first."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tokenizers import Tokenizer  # noqa: E402 (after the skips)

FOLDER = Path(__file__).parents[2] / "beam_bert" / "models" / "embedded" / "sentiment-small-en"
REQUIRED_SHARE = 0.9

# Each of these must be right.
CORE = {
    "positive": [
        "I love this",
        "This is really great work!",
        "not bad at all",
        "I can't complain",
        "great 👍",
        "😀",
        "❤️",
        "love😀",
        "Best day ever",
        "Thank you so much, you saved my day",
        "The film was wonderful and I would see it again",
        "The food was delicious and the staff were lovely.",
    ],
    "negative": [
        "terrible service, never again",
        "I hate waiting for hours",
        "not good",
        "I don't like it",
        "wasn't worth the money",
        "😡",
        "👎",
        "my package arrived 😭💔",
        "The worst movie I have ever seen",
        "It broke after two days and nobody answers my emails.",
        "I am so disappointed",
        "The food was cold and the waiter was rude.",
    ],
    "neutral": [
        "The meeting is at 3pm",
        "What time is it?",
        "The train to Berlin leaves from platform 4.",
        "Paris is the capital of France.",
        "I bought a table and two chairs.",
    ],
}

# At least `REQUIRED_SHARE` of these and the core together must be right.
MORE = {
    "positive": [
        "I have never been happier",
        "You can't go wrong with this place",
        "The battery lasts for days, very happy with it",
        "Nothing wrong with it, works like new",
        "What a beautiful song 😍",
        "We had so much fun yesterday 🎉",
        "It isn't perfect, but I really like it",
        "Couldn't have asked for a better birthday",
        "She did an amazing job",
        "I was worried about the price but it is worth it",
        "Congratulations on your new job!",
        "My son laughed the whole time, he adored the puppets.",
        "👏👏👏",
        "🥰",
        ":)",
        "A quiet, moving film with a superb lead.",
        "Quick delivery, good packaging, fair price.",
        "I was not bored for a single minute",
        "This helped me a lot, thanks",
        "that's hilarious 😂",
    ],
    "negative": [
        "I would not buy this again",
        "It doesn't do what it says on the box",
        "The plot makes no sense",
        "Give me a refund, this is a joke",
        "Don't waste your time",
        "There is nothing I like about this phone",
        "He never answers and he is never on time",
        "Two hours of my life I will never get back",
        "This app keeps crashing",
        "I'm really sad today",
        "ugh, Mondays 🙄",
        "The room smelled of smoke and the bed was hard.",
        "I expected so much more",
        "Not the best hotel we have stayed in",
        "it sucks",
        "😢",
        "🤮",
        ":(",
        "The acting is wooden and the jokes fall flat.",
        "I can't believe how bad this is",
        "She is not a nice person",
        "Still no refund after six weeks 😤",
    ],
    "neutral": [
        "The box is on the kitchen floor.",
        "He works in an office on Third Street.",
        "Does this come in blue?",
        "The report has twelve pages.",
        "My flight leaves on Tuesday morning.",
        "Please find the invoice attached.",
        "How do I reset my password?",
        "The store is open from nine to five.",
        "There are 24 hours in a day.",
        "He put the book back on the shelf.",
        "The package was delivered to the front door.",
        "Is the museum open on Sundays?",
        "They drove from Lyon to Geneva.",
        "The laptop has 16 GB of memory.",
    ],
}

# Written later, before anybody tried one on a model, to see how far the above carries: praise and
# blame without a word of feeling, turns, irony. The model is right on 42 of these 60; none of them
# decided anything about it.
LATER = {
    "positive": [
        "This kettle boils in no time and pours without a drip.",
        "I've owned three of these and would happily buy a fourth",
        "My grandmother figured it out in five minutes, that says it all",
        "Never a dull moment, even at three hours long",
        "I can't believe how comfortable these shoes are",
        "You will not find a better pizza in this town",
        "He never forgets my birthday and always makes me smile",
        "Not one of the seats was uncomfortable",
        "It does exactly what it promises",
        "A bit pricey, but I would pay it again in a heartbeat",
        "The first half drags, but the ending more than makes up for it.",
        "I was sceptical at first, now I can't live without it",
        "Nobody could have played that role better",
        "The landlord fixed the heating within the hour, what a relief",
        "finally passed my driving test 🎊🥳",
        "my sister just had her baby 💖",
        "Our guide knew everything and the view took my breath away",
        "The kids haven't stopped playing with it since Christmas",
        "There isn't a single weak performance in the whole cast.",
        "So glad I found this shop!",
        "Five stars from me",
    ],
    "negative": [
        "The zip broke the second time I used it.",
        "It does not do what the advert promised",
        "They never call back and they are never in the office",
        "I can't believe how rude that driver was",
        "I can't believe I paid for this",
        "Looks lovely in the photos, falls to pieces in your hands.",
        "The trailer was great, the film itself put me to sleep",
        "Nice staff, but the room was filthy and we left early",
        "I wish I had read the other reviews first",
        "I wanted to love it, but it left me cold.",
        "Nothing about this works the way it should",
        "Not a single joke made me laugh",
        "Don't buy the blue one, the paint comes off on your fingers",
        "It wasn't funny then and it isn't funny now",
        "Could someone please explain why I was charged twice?",
        "The sequel nobody asked for",
        "another cancelled train 😡😡",
        "lost my wallet today 😩",
        "I have had nothing but trouble with this printer",
        "She didn't even bother to say sorry",
        "The screen scratches if you so much as look at it",
        "My coffee was lukewarm and my sandwich was soggy.",
        "One star is too many",
        "I'd rather watch paint dry",
    ],
    "neutral": [
        "The bus to the airport runs every twenty minutes.",
        "She parked the car behind the library.",
        "Which platform does the Madrid train use?",
        "The recipe needs two eggs and a cup of flour.",
        "We have moved our office to the second floor.",
        "The shop sells bicycles and spare parts.",
        "Your appointment is on 14 March at 10:20.",
        "The film lasts 95 minutes.",
        "The cable is two metres long and comes in black or white.",
        "I read the first chapter on the train.",
        "Does the kettle switch off by itself?",
        "Tom is the brother of my neighbour.",
        "The form has to be signed on page three.",
        "The novel is set in Lisbon in the 1920s.",
        "It is Wednesday today 📅",
    ],
}
REQUIRED_LATER = 40


def listed(sentences: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Pairs of sentence and label."""
    return [(text, label) for label, texts in sentences.items() for text in texts]


@pytest.fixture(scope="module")
def predicted() -> dict[str, str]:
    """The model's label of every sentence."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(FOLDER).eval()
    texts = [text for text, _ in listed(CORE) + listed(MORE) + listed(LATER)]
    with torch.inference_mode():
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    return {
        text: model.config.id2label[int(place)]
        for text, place in zip(texts, logits.argmax(-1), strict=True)
    }


@pytest.mark.parametrize(("text", "label"), listed(CORE))
def test_a_plain_sentence_gets_the_label_that_anyone_would_give(
    predicted: dict[str, str], text: str, label: str
) -> None:
    assert predicted[text] == label


def test_nine_in_ten_of_all_sentences_are_right(predicted: dict[str, str]) -> None:
    wanted = listed(CORE) + listed(MORE)
    wrong = [(text, label, predicted[text]) for text, label in wanted if predicted[text] != label]
    assert len(wrong) <= (1 - REQUIRED_SHARE) * len(wanted), f"(text, wanted, got): {wrong}"


def test_no_fewer_than_before_of_the_sentences_written_later_are_right(
    predicted: dict[str, str],
) -> None:
    right = [text for text, label in listed(LATER) if predicted[text] == label]
    assert len(right) >= REQUIRED_LATER


def test_no_sentence_here_is_made_by_the_training_templates() -> None:
    augmentation = pytest.importorskip("tools.sentiment_model.augmentation")
    import random

    def plain(text: str) -> str:
        return "".join(c for c in text.lower() if c.isalnum() or c == " ").strip()

    made = augmentation.templated(30_000, random.Random(0))
    trained = {plain(example.text) for example in made}
    tested = {plain(text) for text, _ in listed(CORE) + listed(MORE) + listed(LATER)} - {""}
    # GoEmotions itself holds this one, many times.
    assert trained & tested <= {"i love this"}


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("love😀", ["love", "😀"]),
        ("👍🏽", ["👍"]),
        ("❤️", ["❤"]),
        ("😂😂😂", ["😂", "😂", "😂"]),
        (":)", [":", ")"]),
        ("It's fine.", ["it", "'", "s", "fine", "."]),
        ("Ça va, Привет", None),
    ],
)
def test_both_ways_to_load_the_tokenizer_agree_and_emoji_stand_alone(
    text: str, pieces: list[str] | None
) -> None:
    ours = Tokenizer.from_file(str(FOLDER / "tokenizer.json")).encode(text)
    theirs = transformers.AutoTokenizer.from_pretrained(FOLDER)
    assert theirs(text)["input_ids"] == ours.ids
    assert theirs(text)["token_type_ids"] == ours.type_ids
    assert "[UNK]" not in ours.tokens
    if pieces is not None:
        assert ours.tokens[1:-1] == pieces


def test_the_weights_fit_the_package() -> None:
    assert (FOLDER / "model.safetensors").stat().st_size <= 16 * 1024 * 1024
