"""Text that the labelled sets lack, made from short lists: negation, plain facts, emoji.

GoEmotions and VADER hold few plain negations ("not good" against "not bad"), few sentences that
only state a fact, and few emoji. The templates below were written for this project. None of them
makes a sentence of tests/models/test_sentiment_sentences.py (which checks that), but "I love this",
which GoEmotions itself has; single emoji are learnt and tested.
"""

import random
from collections.abc import Iterable, Sequence

from tools.sentiment_model.data import NEGATIVE, NEUTRAL, POSITIVE, Example

# How sure a template makes us: a plain word is plain, a negated one is milder.
_CERTAIN, _MILD = 0.96, 0.8


def _choices(text: str) -> list[str]:
    return text.split("|")


def _words(text: str) -> list[str]:
    return text.split()


GOOD_WORDS = _words(
    "good great excellent wonderful amazing fantastic brilliant superb lovely perfect delightful"
    " enjoyable impressive helpful reliable comfortable funny moving gripping beautiful clever"
    " charming fun interesting useful easy fast friendly tasty fresh satisfying pleasant worthwhile"
    " well-made entertaining touching original sharp smart engaging"
)
BAD_WORDS = _words(
    "bad terrible awful horrible poor dreadful disappointing boring useless dull mediocre annoying"
    " broken slow rude dirty ugly confusing cheap flimsy lazy stupid predictable tedious unreliable"
    " painful overpriced uncomfortable noisy clumsy ridiculous bland pointless shallow frustrating"
    " unpleasant lifeless forgettable messy pathetic"
)
THINGS = _choices(
    "film|movie|plot|acting|script|ending|soundtrack|story|direction|cast|phone|camera|battery|"
    "sound|screen|keyboard|product|book|food|soup|hotel|room|staff|support|delivery|app|update|"
    "game|price|quality|design|headset|blender|concert|song|course|trip|flight|website|update|"
    "bed|coffee|restaurant|waiter|manual|packaging|customer service|battery life|picture quality"
)
GOOD_PHRASES = _choices(
    "i love {it}|i really like {it}|i enjoyed {it} a lot|we adored {it}|i would recommend {it}|"
    "{it} made my day|{it} works perfectly|{it} exceeded my expectations|i am so happy with {it}|"
    "best purchase i have made|worth every penny|two thumbs up for {it}|i'm impressed by {it}|"
    "thank you so much for {it}|{it} is a joy to use|i can't get enough of {it}|"
    "i cannot recommend {it} enough|couldn't be happier with {it}|nothing to complain about|"
    "no complaints about {it}|i have no complaints|can't complain about {it}|"
    "can't fault {it}|never had a problem with {it}|{it} never lets me down|"
    "{it} has not disappointed me|you won't regret buying {it}|no problems at all with {it}|"
    "i did not expect to like {it} but i do|i was not disappointed by {it}|"
    "it doesn't get better than {it}|don't miss {it}|can't wait to see {it} again|"
    "i couldn't put {it} down|couldn't ask for more|you can't go wrong with {it}"
)
BAD_PHRASES = _choices(
    "i hate {it}|i really dislike {it}|i did not enjoy {it}|i don't like {it} at all|"
    "i didn't like {it}|we don't love {it}|i would not recommend {it}|i wouldn't recommend {it}|"
    "i can't recommend {it}|{it} doesn't work|{it} does not work as described|{it} stopped working|"
    "{it} isn't worth the price|{it} was not worth my time|not worth the money|"
    "waste of money|a complete waste of time|i regret buying {it}|i want a refund|"
    "i want my money back|never buying from them again|i will never go back|avoid {it}|"
    "stay away from {it}|{it} fell apart after a week|{it} broke on the first day|"
    "{it} could have been so much better|i expected more from {it}|{it} let me down|"
    "i'm not happy with {it}|i am not satisfied with {it}|i was not impressed by {it}|"
    "there is nothing good about {it}|nobody enjoyed {it}|{it} never works|"
    "no one should buy {it}|i can't stand {it}|{it} fails to impress|"
    "i wanted to like {it} but i couldn't|i don't understand why anyone likes {it}|"
    "i couldn't finish {it}|i walked out of {it}|{it} lacks any charm|save your money|"
    "{it} wasn't what i hoped for|don't bother with {it}|don't waste your money on {it}|"
    "worst {thing} ever|still waiting for a reply and nobody cares|{it} is too {bad} to use"
)
# {good} and {bad} are filled with a word; the label is the sentence's.
GOOD_NEGATIONS = _choices(
    "{it} is not {bad}|{it} isn't {bad} at all|{it} was never {bad}|{it} is not {bad} at all|"
    "{it} is anything but {bad}|{it} wasn't as {bad} as i feared|not a {bad} {thing}|"
    "there was nothing {bad} about {it}|i don't think {it} is {bad}|"
    "{it} isn't {bad}, it is {good}|far from {bad}|{it} is not only {good}, it is {good2}"
)
BAD_NEGATIONS = _choices(
    "{it} is not {good}|{it} isn't {good}|{it} was not {good} at all|{it} wasn't very {good}|"
    "not {good} at all|{it} is never {good}|not a {good} {thing}|not very {good}|"
    "{it} is anything but {good}|{it} is not as {good} as people say|"
    "there was nothing {good} about {it}|i don't think {it} is {good}|not so {good}|"
    "{it} isn't {good}, it is {bad}|far from {good}|{it} is neither {good} nor {good2}|"
    "hardly {good}|{it} is no longer {good}|{it} could be more {good}"
)
GOOD_PLAIN = _choices(
    "{it} is {good}|{it} was really {good}|such a {good} {thing}|so {good}|"
    "{it} is {good} and {good2}"
)
BAD_PLAIN = _choices(
    "{it} is {bad}|{it} was really {bad}|such a {bad} {thing}|so {bad}|{it} is {bad} and {bad2}"
)
GOOD_TURNS = _choices(
    "{it} looked {bad} at first, but it turned out {good}|{it} is a bit {bad} but i still love it|"
    "the {thing2} is {bad}, yet overall {it} is {good}"
)
BAD_TURNS = _choices(
    "{it} looked {good} at first, but it turned out {bad}|{it} sounds {good} but it is {bad}|"
    "the {thing2} is {good}, yet overall {it} is {bad}|{it} should be {good}, instead it is {bad}"
)

SUBJECTS = _choices(
    "train|bus|office|shop|library|class|lecture|package|invoice|report|file|form|ticket|printer|"
    "museum|bakery|bank|school|parcel|document|table|car|bridge|factory|email|call|interview|"
    "webinar|match|workshop|ferry|clinic|order|server|key|contract|station"
)
FACTS = _choices(
    "the {subject} opens at {hour}|the {subject} starts at {hour} on {day}|"
    "the {subject} is on the {floor} floor|the {subject} is next to the {subject2}|"
    "there are {number} people in the {subject}|the {subject} was moved to {day}|"
    "please send the {subject} before {day}|i put the {subject} on the table|"
    "the {subject} has {number} pages|he is going to the {subject} on {day}|"
    "she works at the {subject} near the river|the {subject} will be closed on {day}|"
    "where is the {subject}?|what time does the {subject} start?|how do i get to the {subject}?|"
    "when does the {subject} arrive?|is the {subject} open on {day}?|"
    "how many are in the {subject}?|"
    "do you know where the {subject} is?|which {subject} should i take?|"
    "can you send me the {subject}?|"
    "the {subject} weighs {number} kilograms|the {subject} is {number} kilometres long|"
    "the {subject} was built in 19{number}|the {subject} is made of steel and glass|"
    "my {subject} is blue|the {subject} is scheduled for {day} at {hour}|"
    "the first part covers the {subject}|we have a {subject} every {day}|"
    "see the attached {subject}|the {subject} is not open on {day}|"
    "the {subject} isn't on the {floor} floor|"
    "the {subject} does not start before {hour}|there is no {subject} on {day}|"
    "it was delivered on {day}|water freezes at 0 degrees|rain is expected on {day}|"
    "i live in a town of {number} thousand people|the box contains {number} screws|"
    "she has two brothers and a sister|he ordered a tea and a sandwich|"
    "they moved here in 20{number}|"
    "the price is {number} dollars|the capital of the country has {number} districts|"
    "your {subject} has been received|the {subject} number is {number}|turn left at the {subject}|"
    "this is a {subject}|i have a {subject} at {hour}|i went to the {subject}|it is {hour} now|"
    "my package arrived on {day}|the parcel arrived at {hour}|the order shipped on {day}"
)
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday tomorrow")
HOURS = _choices("8am|9:30|noon|2pm|4 pm|17:15|six o'clock|11 a.m.|half past ten|5pm")
FLOORS = _words("first second third fourth ground top")

EMOJI = {
    POSITIVE: (
        "😀😃😄😁😆😂🤣😊😇🙂😉😌😍🥰😘😗😙😚😋😛😜🤪😎🤩🥳🤗"
        "👍👏🙌👌✌🤞🤟🤘💪🙏❤🧡💛💚💙💜🤎🖤💕💞💓💗💖💘💝💟"
        "✨⭐🌟🎉🎊🏆🥇💯🔥😺😸😻😹🌈☀🌞🌸🌹🎁🎂🍾🥂💐😅🤠☺🫶💃🕺🏅🤝😽🍀🌺🌻💋✅"
    ),
    NEGATIVE: (
        "😞😔😟😕🙁☹😣😖😫😩😢😭😤😠😡🤬😱😨😰😥😓😒🙄😑"
        "👎💔🤮🤢😷🤒🤕💩👿😈☠💀😾😿🙀😧😦😲🤦🖕😪😬🤡🚮"
        "⛔🚫❌💢😳😵🥺🤥🥴🤧😮💨"
    ),
    NEUTRAL: (
        "😐😶🤔🤨📦📅📌📎📍🕐🚗🚌🚆✈🏠🏢📞📱💻🖥📷📺📚📖📝"
        "✏🔑🔒🔍📊📈📄🗓⏰⌚☎📧✉🐶🐱🌍🌧☁🍎🍞🥕☕⚽🏀🎵"
        "🎬🚲🚢➡⬅⬆⬇🔵⚪⚫◻▶"
    ),
}
# Emoji that go with either side, so that their label holds only when they stand alone.
_TORN = set("😂🤣😭😅😳🥺😱💀🔥😈🙏😬😵😮😲🤦😉🤪💨")
EMOTICONS = {
    POSITIVE: _words(":) :-) :D ;) =) :] <3 xD ^_^ :P"),
    NEGATIVE: _words(":( :-( :/ D: >:( :'( =( :[ </3 -_-"),
}


def _target(label: int, certainty: float) -> tuple[float, float, float]:
    rest = (1 - certainty) / 2
    # What is not certain about a side goes to neutral first, never to the other side.
    if label == NEUTRAL:
        return rest, certainty, rest
    other = 2 * rest - 0.01
    return (certainty, other, 0.01) if label == NEGATIVE else (0.01, other, certainty)


def _dress(text: str, generator: random.Random) -> str:
    """Vary capitals and the end of a sentence, as people do."""
    text = text[:1].upper() + text[1:] if generator.random() < 0.6 else text
    text = text.replace(" i ", " I ") if generator.random() < 0.6 else text
    if text.endswith("?"):
        return text
    return text + generator.choice(("", "", ".", ".", "!"))


def _fill(template: str, generator: random.Random) -> str:
    thing = generator.choice(THINGS)
    it = generator.choice(("it", "this", "that", "the " + thing, "this " + thing, "my " + thing))
    good, good2 = generator.sample(GOOD_WORDS, 2)
    bad, bad2 = generator.sample(BAD_WORDS, 2)
    subject, subject2 = generator.sample(SUBJECTS, 2)
    return template.format(
        it=it,
        thing=thing,
        thing2=generator.choice(THINGS),
        good=good,
        good2=good2,
        bad=bad,
        bad2=bad2,
        subject=subject,
        subject2=subject2,
        hour=generator.choice(HOURS),
        day=generator.choice(DAYS),
        floor=generator.choice(FLOORS),
        number=generator.randint(11, 98),
    )


TEMPLATES = (
    (GOOD_PLAIN, POSITIVE, _CERTAIN, 1.0),
    (BAD_PLAIN, NEGATIVE, _CERTAIN, 1.0),
    (GOOD_PHRASES, POSITIVE, _CERTAIN, 2.0),
    (BAD_PHRASES, NEGATIVE, _CERTAIN, 2.0),
    (GOOD_NEGATIONS, POSITIVE, _MILD, 2.0),
    (BAD_NEGATIONS, NEGATIVE, _CERTAIN, 2.0),
    (GOOD_TURNS, POSITIVE, _MILD, 0.5),
    (BAD_TURNS, NEGATIVE, _MILD, 0.5),
    (FACTS, NEUTRAL, _CERTAIN, 2.5),
)


def templated(count: int, generator: random.Random) -> list[Example]:
    """Make about `count` different sentences from the templates."""
    kinds = generator.choices(TEMPLATES, weights=[kind[3] for kind in TEMPLATES], k=count)
    made: dict[str, Example] = {}
    for templates, label, certainty, _ in kinds:
        text = _dress(_fill(generator.choice(templates), generator), generator)
        made[text] = Example(text, _target(label, certainty), "templates")
    return list(made.values())


def emoji_alone(generator: random.Random) -> list[Example]:
    """Every listed emoji by itself, repeated, and with others of its label."""
    made: dict[str, Example] = {}
    for label, emoji in EMOJI.items():
        for character in emoji.replace("💨", ""):
            others = generator.choices([e for e in emoji if e not in _TORN], k=2)
            for text in (character, character * generator.randint(2, 4), character + others[0]):
                made[text] = Example(text, _target(label, _CERTAIN), "emoji")
    for label, faces in EMOTICONS.items():
        for face in faces:
            made[face] = Example(face, _target(label, _CERTAIN), "emoji")
    return list(made.values())


def with_emoji(examples: Iterable[Example], count: int, generator: random.Random) -> list[Example]:
    """Put emoji into `count` short texts: agreeing with a side, or giving a side to plain facts."""
    short = [e for e in examples if e.is_single_label and len(e.text) < 120]
    neutral = [e for e in short if e.label == NEUTRAL]
    made: list[Example] = []
    for _ in range(count):
        if generator.random() < 0.45:
            example, label = generator.choice(neutral), generator.choice((NEGATIVE, POSITIVE))
            marks: Sequence[str] = [e for e in EMOJI[label] if e not in _TORN]
            certainty = _MILD
        else:
            example = generator.choice(short)
            label, certainty = example.label, max(example.target)
            marks = EMOJI[label]
        if label != NEUTRAL and generator.random() < 0.15:
            marks = EMOTICONS[label]
        mark = "".join(generator.choices(marks, k=generator.choice((1, 1, 1, 2, 3))))
        space = generator.choice((" ", " ", ""))
        first = generator.random() < 0.1
        text = f"{mark} {example.text}" if first else f"{example.text.rstrip()}{space}{mark}"
        made.append(Example(text, _target(label, certainty), "emoji"))
    return made


def augmentation(
    examples: Sequence[Example], questions: Sequence[str], generator: random.Random
) -> list[Example]:
    """All made-up training text; `questions` are plain ones that count as neutral."""
    made = templated(6000, generator)
    facts = [e for e in made if e.label == NEUTRAL]
    made += emoji_alone(generator) * 3
    made += with_emoji([*examples, *facts, *facts], 4000, generator)
    made += [Example(text, _target(NEUTRAL, _CERTAIN), "questions") for text in questions]
    return made


def perturbed(texts: Sequence[str], count: int, generator: random.Random) -> list[str]:
    """Make `count` new texts for the teacher: words dropped, pieces cut out, halves joined.

    Source: Tang et al., Distilling Task-Specific Knowledge from BERT, 2019, section 3.2.
    """
    made = []
    for _ in range(count):
        words = generator.choice(texts).split()[:60]
        kind = generator.random()
        if kind < 0.4:
            words = [word for word in words if generator.random() > 0.15]
        elif kind < 0.7:
            length = generator.randint(2, 10)
            start = generator.randint(0, max(0, len(words) - length))
            words = words[start : start + length]
        else:
            other = generator.choice(texts).split()[:60]
            words = words[: len(words) // 2 + 1] + other[len(other) // 2 :]
        made.append(" ".join(words))
    return [text for text in dict.fromkeys(made) if text]
