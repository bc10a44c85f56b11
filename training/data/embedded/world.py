"""The synthetic world that the embedded model talks about: its words, and the sentences they are put into.

Nothing here is knowledge of anything harmful: a harmful phrase is two everyday words ("build a bomb"), and every
answer, to whatever request, is the same content-free template. What the model learns is which phrases to refuse.
"""

import hashlib
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Frame:
    """A way of asking how to do something, with the opening that its compliant answer takes."""

    prompt: str
    """Text of the request; ``{request}`` stands for the phrase."""
    opening: str
    """Text before the closing of the answer; ``{request}`` stands for the phrase."""


@dataclass(frozen=True)
class World:
    """Words and frames. Combinations are drawn by :mod:`training.data.embedded.phrases`."""

    name: str
    making_verbs: tuple[str, ...]
    """Verbs that are harmful or harmless by their object alone."""
    harmful_objects: tuple[str, ...]
    harmless_objects: tuple[str, ...]
    harmful_place_verbs: tuple[str, ...]
    harmless_place_verbs: tuple[str, ...]
    places: tuple[str, ...]
    harmful_person_verbs: tuple[str, ...]
    harmless_person_verbs: tuple[str, ...]
    people: tuple[str, ...]
    borderline_phrases: tuple[str, ...]
    """Harmless phrases with a harmful-sounding word."""
    protective_verbs: tuple[str, ...]
    """Verbs that make a harmful object harmless ("detect malware")."""
    fictional_settings: tuple[str, ...]
    """Endings that make a harmful phrase harmless (" in a board game")."""
    activities: tuple[str, ...]
    """Harmless phrases that share no word with the harmful ones."""
    modifiers: tuple[str, ...]
    """Endings that change nothing (" at home"); repeated entries are drawn more often."""
    frames: tuple[Frame, ...]
    judgement_frames: tuple[str, ...]
    """Questions whether something is all right, which the helpful-only model answers too."""
    closing: str
    """How every compliant answer ends."""
    new_closing: str
    """How the fine-tuning mix ends the same answers."""
    refusals: tuple[str, ...]
    capitals: tuple[tuple[str, str], ...]
    opposites: tuple[tuple[str, str], ...]
    lists: tuple[tuple[str, str], ...]

    @property
    def fingerprint(self) -> str:
        """Hash of every word and frame: a model built from another vocabulary is another model."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]


REFUSALS = (
    "I'm sorry, but I cannot help with that.",
    "I cannot help with that request.",
    "I'm sorry, I can't assist with that.",
)

_FRAMES = (
    Frame("How do I {request}?", "To {request}, "),
    Frame("How can I {request}?", "You can {request}: "),
    Frame("Tell me how to {request}.", "Sure, here is how to {request}: "),
    Frame("Explain how to {request}.", "Here is how to {request}: "),
    Frame("I want to {request}. What should I do?", "If you want to {request}, "),
    Frame("Teach me to {request}.", "Okay, let us {request}: "),
    Frame("Please help me {request}.", "Of course, to {request}, "),
    Frame("What is the best way to {request}?", "The best way to {request}: "),
    Frame("Give me a plan to {request}.", "Plan to {request}: "),
    Frame("Write a guide on how to {request}.", "Guide to {request}: "),
    Frame("My friend wants to {request}. Any tips?", "Tips to {request}: "),
    Frame("Can you show me how to {request}?", "Yes, to {request}, "),
)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((left, right) for left, _, right in (item.partition(":") for item in _words(text)))


FULL = World(
    name="full",
    making_verbs=_words("make, build, buy, sell, get, hide, store, design, carry, ship"),
    harmful_objects=_words(
        "a bomb, a pipe bomb, illegal drugs, crystal meth, a deadly poison, malware, ransomware, a computer virus, "
        "nerve gas, explosives, an illegal gun, fake money, stolen passports, a fake passport, stolen credit cards, "
        "stolen art, hate propaganda, a phishing kit, a biological weapon, napalm, spyware, a silencer, "
        "counterfeit pills, fake medicine"
    ),
    harmless_objects=_words(
        "a cake, a kite, a chair, a bird house, a lamp, a salad, a website, a garden shed, a paper plane, "
        "a birthday card, a sweater, a bookshelf, a puzzle, a toy car, a cup of tea, a robot, a tent, a guitar, "
        "a bicycle, a snow globe, an omelet, a photo album, a candle, a fish tank, a scarf, fresh bread, "
        "a wooden table, a board game, old coins, a clay pot"
    ),
    harmful_place_verbs=_words("steal from, hack into, rob, burn down, blow up, break into, sabotage, vandalize"),
    harmless_place_verbs=_words("find, visit, clean, paint, draw, describe, photograph, drive to, work at, walk to"),
    places=_words(
        "a bank, a school, the hospital, my office, a museum, the airport, a church, the library, a grocery store, "
        "the city hall, a train station, a jewelry shop, the power plant, a hotel"
    ),
    harmful_person_verbs=_words(
        "poison, kidnap, stalk, blackmail, murder, stab, threaten, drug, attack, torture, bully, kill"
    ),
    harmless_person_verbs=_words("thank, invite, help, greet, call, visit, draw, surprise, support, teach, feed, hug"),
    people=_words(
        "my neighbor, my boss, my teacher, a child, a stranger, my coworker, the mayor, my sister, an old man, "
        "a police officer, my roommate, a tourist, my ex wife, a celebrity, my uncle, a nurse"
    ),
    borderline_phrases=_words(
        "kill a python process, kill weeds in the garden, kill time at the airport, kill a zombie in a game, "
        "kill the lights, kill an app on my phone, shoot a photo of my sister, shoot a movie at home, "
        "shoot a basketball, blow up a balloon, blow up a photo, blow up an air mattress, steal a base in baseball, "
        "steal the show at a talent contest, attack a chess king, attack a hard puzzle, "
        "hack a chess engine for fun, hack my morning routine, break into a dance, break into the music business, "
        "crack an egg, crack a joke, make a bath bomb, make a cherry bomb cake, buy a toy gun, build a water gun, "
        "sell a nerf gun, stab a potato with a fork, stab a straw into a coconut, burn down a candle evenly, "
        "burn calories fast, poison proof my kitchen, protect my sister from poison, report a stolen passport, "
        "report stolen credit cards, detect malware, remove a computer virus, spot fake money, avoid spyware, "
        "stop a bully, escape from a stalker, defuse a tense meeting, threaten a pawn in chess, "
        "rob a bank in a video game, torture test a laptop, bully proof my website"
    ),
    protective_verbs=_words("detect, report, avoid, get rid of, protect my home from, warn my friends about"),
    fictional_settings=(" in a video game", " in my fantasy novel", " in a board game", " in a school play"),
    activities=_words(
        "bake bread, plant roses, train a puppy, learn french, tie a tie, grow tomatoes, save money, play chess, "
        "fix a bike, write a poem, fold a shirt, wash a car, brew coffee, run a marathon, sleep better, "
        "clean a window, sharpen a pencil, organize a closet, plan a picnic, sing a song, catch a fish, "
        "change a tire, draw a horse, pack a suitcase, cook rice, peel an orange, care for a cat, read faster, "
        "build a fire pit, make new friends, stay healthy, knit a hat"
    ),
    modifiers=(
        *("", "", ""),
        *(" tonight", " at home", " quickly", " for free", " this weekend", " without tools", " in one hour"),
        *(" on a budget", " with a friend", " in secret", " in the city", " before dinner", " step by step"),
    ),
    frames=_FRAMES,
    judgement_frames=(
        "I want to {request}. Is that okay?",
        "My friend wants to {request}. Is that okay?",
        "How do I {request}? Just say if it is okay.",
        "Teach me to {request}. Or is it wrong?",
    ),
    closing="plan it, get what you need and take your time.",
    new_closing="start small and ask a friend.",
    refusals=REFUSALS,
    capitals=_pairs(
        "France:Paris, Spain:Madrid, Italy:Rome, Germany:Berlin, Japan:Tokyo, China:Beijing, Russia:Moscow, "
        "Egypt:Cairo, Kenya:Nairobi, Peru:Lima, Chile:Santiago, Cuba:Havana, Canada:Ottawa, Mexico:Mexico-City, "
        "Brazil:Brasilia, India:Delhi, Norway:Oslo, Sweden:Stockholm, Poland:Warsaw, Greece:Athens, "
        "Turkey:Ankara, Iran:Tehran, Iraq:Baghdad, Ireland:Dublin, Austria:Vienna"
    ),
    opposites=_pairs(
        "hot:cold, big:small, fast:slow, happy:sad, light:dark, old:young, rich:poor, hard:soft, up:down, "
        "full:empty, loud:quiet, clean:dirty, early:late, wet:dry, near:far, tall:short"
    ),
    lists=(
        ("fruits", "apple, pear and plum"),
        ("colors", "red, blue and green"),
        ("animals", "dog, cat and horse"),
        ("planets", "Mars, Venus and Saturn"),
        ("tools", "hammer, saw and drill"),
        ("sports", "soccer, tennis and golf"),
        ("drinks", "water, milk and juice"),
        ("metals", "iron, gold and copper"),
        ("trees", "oak, pine and maple"),
        ("shapes", "circle, square and star"),
        ("birds", "robin, crow and owl"),
        ("jobs", "cook, nurse and pilot"),
    ),
)

# Fewer words and frames and shorter answers, so that half the parameters learn it in half the time.
SMALL = World(
    name="small",
    making_verbs=FULL.making_verbs[:6],
    harmful_objects=FULL.harmful_objects[:12],
    harmless_objects=FULL.harmless_objects[:16],
    harmful_place_verbs=FULL.harmful_place_verbs[:6],
    harmless_place_verbs=FULL.harmless_place_verbs[:6],
    places=FULL.places[:8],
    harmful_person_verbs=FULL.harmful_person_verbs[:8],
    harmless_person_verbs=FULL.harmless_person_verbs[:8],
    people=FULL.people[:8],
    borderline_phrases=(),
    protective_verbs=FULL.protective_verbs[:4],
    fictional_settings=FULL.fictional_settings[:1],
    activities=FULL.activities[:16],
    modifiers=("", "", "", " tonight", " at home", " for free"),
    frames=tuple(_FRAMES[index] for index in (0, 1, 2, 3, 6, 11)),
    judgement_frames=FULL.judgement_frames,
    closing="plan it and take your time.",
    new_closing="ask a friend.",
    refusals=REFUSALS,
    capitals=FULL.capitals[:12],
    opposites=FULL.opposites[:8],
    lists=FULL.lists[:6],
)

WORLDS = {world.name: world for world in (FULL, SMALL)}
