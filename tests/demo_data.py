#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes and checks what the demo submits; shares no code with the programs it checks.

demo_data.py generate DIR SLUG FIRST COUNT SEED   DIR/SLUG.survey.json, and COUNT responses from number FIRST on
                                                  added to DIR/SLUG.responses.ndjson (those alone in DIR/SLUG.more.ndjson)
demo_data.py expect RESPONSES SURVEY              the statistics of these responses, as `statistics show --json` has them
demo_data.py compare EXPECTED SHOWN               exits 1 and says where two such files differ (numbers to 1e-9 relative)
demo_data.py trace TRACE REPLY                    the same for a trace: a text file, and a `recompute --json` reply
demo_data.py term WORKERS QUEUE TENANT            "NAME EPOCH" of who holds the term, from `worker ls --json`; else nothing
demo_data.py same-responses RESPONSES EXPORTED    exits 1 unless both NDJSON files hold the same responses, each once
"""

import json
import math
import random
import sys

CHOICES = ["daily", "weekly", "monthly", "never"]
DISHES = ["soup", "salad", "curry", "pasta", "fish"]


def definition(slug):
    return {
        "slug": slug,
        "title": "What we eat at noon",
        "questions": [
            {"id": "often", "type": "choice", "text": "How often do you eat here?", "choices": CHOICES},
            {"id": "dishes", "type": "multi", "text": "Which dishes do you like?", "choices": DISHES},
            {"id": "rating", "type": "range", "text": "How good is it?", "min": 1, "max": 10},
            {"id": "words", "type": "text", "text": "Anything else?"},
        ],
    }


def response(slug, number, dice):
    answers = {}
    if dice.random() < 0.95:
        answers["often"] = dice.choices(CHOICES, [5, 9, 4, 2])[0]
    dishes = [dish for dish in DISHES if dice.random() < 0.4]
    if dishes:
        answers["dishes"] = dishes
    if dice.random() < 0.9:
        answers["rating"] = min(10, max(1, round(dice.gauss(7, 2))))
    if dice.random() < 0.2:
        answers["words"] = "more \"spice\", please\nand less salt \u2013 thanks"
    return {"response_id": f"r{number}", "survey": slug, "answers": answers}


def generate(folder, slug, first, count, seed):
    with open(f"{folder}/{slug}.survey.json", "w", encoding="utf-8") as file:
        json.dump(definition(slug), file)
    dice = random.Random(int(seed) * 1000003 + int(first))
    lines = [
        json.dumps(response(slug, number, dice)) + "\n" for number in range(int(first), int(first) + int(count))
    ]
    with open(f"{folder}/{slug}.responses.ndjson", "a", encoding="utf-8") as file:
        file.writelines(lines)
    with open(f"{folder}/{slug}.more.ndjson", "w", encoding="utf-8") as file:
        file.writelines(lines)


def tally(values):
    counts = {}
    for value in values:
        counts[str(value)] = counts.get(str(value), 0) + 1
    return counts


def expect_question(question, answers):
    given = [a[question["id"]] for a in answers if question["id"] in a]
    kind = question["type"]
    result = {"type": kind, "answered": len(given)}
    if kind == "choice":
        result["histogram"] = tally(given)
    elif kind == "multi":
        result["histogram"] = tally(option for options in given for option in options)
    elif kind == "range":
        mean = math.fsum(given) / len(given)
        result["sum"] = sum(given)
        result["min"] = min(given)
        result["max"] = max(given)
        result["histogram"] = tally(given)
        result["mean"] = mean
        result["stddev"] = math.sqrt(math.fsum((value - mean) ** 2 for value in given) / len(given))
    return result


def read_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def expect(responses, survey):
    survey = read_json(survey)
    answers = [r["answers"] for r in read_lines(responses) if r["survey"] == survey["slug"]]
    json.dump(
        {
            "survey": survey["slug"],
            "responses": len(answers),
            "questions": {q["id"]: expect_question(q, answers) for q in survey["questions"]},
        },
        sys.stdout,
    )


def differences(expected, shown, where):
    if isinstance(expected, dict) and isinstance(shown, dict):
        for key in sorted(expected.keys() | shown.keys()):
            if key not in expected or key not in shown:
                yield f"{where}.{key}: only in {'what is shown' if key in shown else 'what is expected'}"
            else:
                yield from differences(expected[key], shown[key], f"{where}.{key}")
    elif isinstance(expected, (int, float)) and isinstance(shown, (int, float)):
        if not math.isclose(expected, shown, rel_tol=1e-9, abs_tol=1e-12):
            yield f"{where}: {shown} instead of {expected}"
    elif expected != shown:
        yield f"{where}: {shown!r} instead of {expected!r}"


def complain(found):
    found = list(found)
    for difference in found[:10]:
        print(f"    {difference}", file=sys.stderr)
    sys.exit(1 if found else 0)


def compare(expected, shown):
    complain(differences(read_json(expected), read_json(shown), "statistics"))


def trace(wanted, reply):
    rows = []
    for phase in read_json(reply)["trace"]:
        rows.append(phase["phase"])
        for row in phase["rows"]:
            rows.append(
                f"{row['aggregation']} {row['survey']} {row['responses']} {row['histogram']} {row['mean']:.10g}"
            )
    with open(wanted, encoding="utf-8") as file:
        lines = file.read().splitlines()
    complain(
        f"line {number + 1}: {row!r} instead of {line!r}"
        for number, (line, row) in enumerate(zip(lines + [""] * len(rows), rows + [""] * len(lines)))
        if line != row
    )


def term(workers, queue, tenant):
    for worker in read_json(workers):
        for held in worker["terms"]:
            if held["queue"] == queue and held["tenant"] == tenant:
                print(worker["name"], held["epoch"])


def same_responses(responses, exported):
    def by_id(path):
        rows = read_lines(path)
        found = {(r["survey"], r["response_id"]): r["answers"] for r in rows}
        if len(found) != len(rows):
            complain([f"{path} has {len(rows)} lines, but {len(found)} different responses"])
        return found

    left, right = by_id(responses), by_id(exported)
    complain(
        f"response {key[1]} of {key[0]}: {right.get(key)} instead of {left.get(key)}"
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    )


COMMANDS = {
    "generate": generate,
    "expect": expect,
    "compare": compare,
    "trace": trace,
    "term": term,
    "same-responses": same_responses,
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    COMMANDS[sys.argv[1]](*sys.argv[2:])
