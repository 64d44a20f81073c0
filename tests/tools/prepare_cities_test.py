"""tools/prepare_cities.py: its rules on a small made-up world, and its promises on the built data where that is present."""

import json
import pathlib
import sys
import unittest
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import prepare_cities  # noqa: E402

DATA = ROOT / "data" / "cities"
COUNTRIES = {
    code: {"name": name, "continentcode": continent}
    for code, name, continent in [("FR", "France", "EU"), ("US", "United States", "NA"), ("GB", "United Kingdom", "EU"), ("PR", "Puerto Rico", "NA"),
                                  ("NL", "The Netherlands", "EU"), ("TW", "Taiwan", "AS"), ("FI", "Finland", "EU")]
}  # fmt: skip


def place(number, name, country, people, latitude=0.0, longitude=0.0, part="00", also=()):
    return {"geonameid": number, "name": name, "countrycode": country, "population": people, "latitude": latitude, "longitude": longitude,
            "admin1code": part, "alternatenames": list(also)}  # fmt: skip


def row_of(city, places):
    countries = prepare_cities.Countries(COUNTRIES)
    return prepare_cities.city_row(city, prepare_cities.namesakes_by_name(places), countries)


class Names(unittest.TestCase):
    def test_accents_case_and_marks_do_not_make_a_name(self):
        for name in ["São Paulo", "SAO PAULO", "sao-paulo", "São  Paulo"]:
            self.assertEqual(prepare_cities.normalised(name), "sao paulo")
        self.assertEqual(prepare_cities.normalised("Xi’an"), prepare_cities.normalised("Xi'an"))
        self.assertNotEqual(prepare_cities.normalised("Xian"), prepare_cities.normalised("Xiang"))

    def test_a_trailing_city_does_not_make_another_question(self):
        self.assertEqual(prepare_cities.split_key("Makati City"), prepare_cities.split_key("Makati"))
        self.assertEqual(prepare_cities.split_key("City"), "city")


class WhoIsAsked(unittest.TestCase):
    def asked(self, places):
        return [p["name"] for p in prepare_cities.askable_cities(places)]

    def test_only_large_cities(self):
        self.assertEqual(self.asked([place(1, "Big", "FR", 100_000), place(2, "Small", "FR", 99_999)]), ["Big"])

    def test_districts_are_left_out(self):
        city = place(1, "Lyon", "FR", 1_000_000, 45.0, 4.0)
        self.assertEqual(self.asked([city, place(2, "Near", "FR", 400_000, 45.05, 4.0)]), ["Lyon"], "6 km away, reach is 9 km")
        self.assertEqual(self.asked([city, place(2, "Far", "FR", 400_000, 45.2, 4.0)]), ["Lyon", "Far"])
        self.assertEqual(self.asked([city, place(2, "Abroad", "US", 400_000, 45.05, 4.0)]), ["Lyon", "Abroad"])
        self.assertEqual(self.asked([city, place(2, "Twin", "FR", 900_000, 45.05, 4.0)]), ["Lyon", "Twin"])
        self.assertEqual(self.asked([city, place(2, "East Lyon", "FR", 400_000, 45.3, 4.0)]), ["Lyon"])
        self.assertEqual(self.asked([city, place(2, "Sector 2", "FR", 400_000, 10.0, 4.0)]), ["Lyon"])

    def test_territories_and_disputed_places_are_left_out(self):
        self.assertEqual(self.asked([place(1, "San Juan", "PR", 400_000), place(2, "Taipei", "TW", 7_000_000)]), [])

    def test_one_question_for_one_name(self):
        places = [place(1, "Springfield", "US", 150_000, 39, -89), place(2, "Springfield", "US", 170_000, 42, -72)]
        self.assertEqual([p["geonameid"] for p in prepare_cities.askable_cities(places)], [2])


class AcceptedAnswers(unittest.TestCase):
    def test_aliases_of_the_country(self):
        row, _ = row_of(place(1, "Tilburg", "NL", 200_000), [place(1, "Tilburg", "NL", 200_000)])
        self.assertEqual(row["country"], "Netherlands")
        self.assertIn("Holland", row["answer"])
        self.assertEqual(row["slice"], ["population:100k-250k", "continent:Europe"])

    def test_every_country_with_that_name_or_other_name(self):
        asked = place(1, "Paris", "FR", 2_000_000)
        places = [asked, place(2, "Paris", "US", 25_000), place(3, "Lutetia", "NL", 20_000, also=["PARÍS"])]
        row, states = row_of(asked, places)
        self.assertLessEqual({"France", "United States", "USA", "Netherlands"}, set(row["answer"]))
        self.assertEqual(row["answer"][0], "France")
        self.assertIn("shared-name", row["slice"])
        self.assertEqual(states, {"FR", "US", "NL"})

    def test_parts_and_territories(self):
        english = place(1, "Leeds", "GB", 500_000, part="ENG")
        self.assertIn("England", row_of(english, [english])[0]["answer"])
        scottish = place(1, "Glasgow", "GB", 500_000, part="SCT")
        self.assertNotIn("England", row_of(scottish, [scottish])[0]["answer"])
        asked = place(1, "San Juan", "FR", 500_000)
        row, states = row_of(asked, [asked, place(2, "San Juan", "PR", 400_000)])
        self.assertLessEqual({"France", "Puerto Rico", "United States"}, set(row["answer"]))
        self.assertEqual(states, {"FR", "PR", "US"})


class Splits(unittest.TestCase):
    def build(self):
        places = [place(n, f"City{chr(97 + n % 26)}{chr(97 + n // 26)}", ["FR", "US", "GB"][n % 3], 200_000, n * 0.3, n * 0.3) for n in range(300)]
        places.append(place(999, "Cityba", "FR", 20_000))  # a namesake across the border
        with mock.patch.multiple(prepare_cities, SIZES={"sft": 20, "dev": 20, "test": 40}, OOD_COUNTRIES=1, OOD_CITIES_OF_A_COUNTRY=(8, 200)):
            splits = prepare_cities.split_rows(places, prepare_cities.Countries(COUNTRIES))
        splits["ood_invented"] = [prepare_cities.invented_row(0, "Nowhere")]
        splits["paraphrases"] = prepare_cities.paraphrases(splits["test"][:5])
        return splits

    def test_the_hygiene_holds_and_is_repeatable(self):
        splits = self.build()
        prepare_cities.check_hygiene(splits)
        self.assertEqual([len(splits[name]) for name in ["sft", "dev", "test"]], [20, 20, 40])
        self.assertGreater(len(splits["train"]), 100)
        self.assertGreater(len(splits["ood_countries"]), 90)
        self.assertEqual(splits, self.build())

    def test_a_paraphrase_asks_for_the_same_city_in_other_words(self):
        splits = self.build()
        rows = splits["paraphrases"]
        self.assertEqual(len(rows), 5 * len(prepare_cities.WORDINGS))
        self.assertEqual(len({row["prompt"] for row in rows}), len(rows))
        self.assertEqual(len({row["id"] for row in rows}), len(rows))
        self.assertTrue(all(row["city"] in row["prompt"] for row in rows))
        self.assertEqual({row["paraphrase_of"] for row in rows}, {row["id"] for row in splits["test"][:5]})
        self.assertEqual(rows[0]["prompt"], splits["test"][0]["prompt"], "the first wording is the one that was trained")

    def test_the_check_can_fail(self):
        spoilers = [
            lambda splits: splits["test"].append(splits["train"][0]),
            lambda splits: splits["train"].append(splits["train"][0]),
            lambda splits: splits["train"][0]["answer"].append(splits["ood_countries"][0]["country"]),
            lambda splits: splits["dev"][0].update(answer=["Nowhere"]),
            lambda splits: splits["ood_invented"][0].update(answer=["France"]),
            lambda splits: splits["paraphrases"][3].update(answer=["Nowhere"]),
        ]
        for number, spoil in enumerate(spoilers):
            splits = self.build()
            spoil(splits)
            with self.subTest(number), self.assertRaises(AssertionError):
                prepare_cities.check_hygiene(splits)


class InventedNames(unittest.TestCase):
    def test_they_are_new_repeatable_and_sayable(self):
        cities = [place(n, name, "FR", 200_000) for n, name in enumerate(["Marseille", "Toronto", "Yokohama", "Samara", "Kinshasa", "Valparaiso"])]
        first = prepare_cities.invented_names(cities, set(), 20)
        self.assertEqual(len(set(first)), 20)
        self.assertEqual(first, prepare_cities.invented_names(cities, set(), 20))
        known = {prepare_cities.normalised(name) for name in first[:10]}
        self.assertFalse(known & {prepare_cities.normalised(name) for name in prepare_cities.invented_names(cities, known, 20)})
        self.assertTrue(all(5 <= len(name) <= 11 for name in first))


@unittest.skipUnless((DATA / "manifest.json").exists(), "data/cities is not built here: tools/prepare.sh")
class BuiltData(unittest.TestCase):
    def setUp(self):
        self.splits = {}
        for name in [*prepare_cities.SIZES, "train", "ood_countries", "ood_invented"]:
            self.splits[name] = [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]

    def test_the_hygiene_holds(self):
        prepare_cities.check_hygiene(self.splits)

    def test_counts(self):
        sizes = {name: len(rows) for name, rows in self.splits.items()}
        self.assertEqual({name: sizes[name] for name in prepare_cities.SIZES}, prepare_cities.SIZES)
        self.assertGreaterEqual(sizes["train"], 2000)
        self.assertEqual(len({row["country"] for row in self.splits["ood_countries"]}), prepare_cities.OOD_COUNTRIES)
        self.assertEqual(sizes["ood_invented"], prepare_cities.INVENTED)

    def test_the_shape_of_rows(self):
        for rows in self.splits.values():
            for row in rows:
                self.assertEqual(set(row), {"id", "prompt", "answer", "slice", "city", "country", "population"})
                self.assertEqual(row["prompt"], f"Which country is the city of {row['city']} in?")


if __name__ == "__main__":
    unittest.main()
