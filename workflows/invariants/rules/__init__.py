"""The rules, one module for each idea. A new module in this package is found by itself.

Each module has ``RULES``. Each invariant is checked here, elsewhere, or both:

| invariant | here | elsewhere |
|---|---|---|
| I1 | our own data: ``no_new_attempt_after_unknown`` | the auditor of the provider's ledger |
| I2 | our own data: ``captured_amounts``, ``attempts_prove_final_status`` | the auditor of the provider's ledger |
| I3 | our own data: ``final_status_has_known_outcome``, ``attempts_prove_final_status`` | likewise |
| I4 | ``refund_reservations`` | the auditor of the provider's ledger, for final refunds |
| I5 | ``legal_edges``, ``version_matches_history`` | |
| I6 | ``settled_once`` | |
| I7 | ``frozen_settlements`` | |
| I8 | ``ledger`` | |
| I11 | not checked before outgoing events exist | |
| I9 | ``nothing_stays_open`` | |
| I10 | ``idempotency_keys_match_payments`` | |
| I12 | ``bills`` | |
| I13 | ``card_numbers``: every text of the database | broker, logs, Flower: a chaos test |
| I14 | ``history_chain`` | |
| I15 | ``provider_net``: by the statements | the auditor of the provider's net: by its ledger |
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
