"""The rules, one file for each idea; a new file beside these is a new rule.

Each file has ``RULES``. Which invariant is judged where:

| invariant | here | judged elsewhere |
|---|---|---|
| I1 | our own half: ``no_new_attempt_after_unknown`` | the second judge: the provider's own ledger |
| I2 | our own half: ``captured_amounts``, ``attempts_prove_final_status`` | the second judge |
| I3 | our own half: ``final_status_has_known_outcome``, ``attempts_prove_final_status`` | the second judge |
| I4 | ``refund_reservations`` | the second judge, as far as a refund is final |
| I5 | ``legal_edges``, ``version_matches_history`` | |
| I6 | ``settled_once`` | |
| I7 | ``frozen_settlements`` | |
| I8 | ``ledger`` | |
| I11 | comes with events out | |
| I9 | ``nothing_stays_open`` | |
| I10 | ``idempotency_keys_match_payments`` | |
| I12 | ``bills`` | |
| I13 | ``card_numbers``: every text of the database | broker, logs, Flower: a chaos test |
| I14 | ``history_chain`` | |
| I15 | ``provider_net``: by the statements | the judge of the provider's net: by its ledger |
"""

from importlib import import_module
from pathlib import Path

from workflows.invariants.rule import Rule


def _found() -> tuple[Rule, ...]:
    names = sorted(file.stem for file in Path(__file__).parent.glob("*.py") if file.stem != "__init__")
    rules: list[Rule] = []
    for name in names:
        rules += import_module(f"{__name__}.{name}").RULES
    return tuple(sorted(rules, key=lambda rule: (int(rule.invariant.removeprefix("I")), rule.name)))


RULES: tuple[Rule, ...] = _found()
