"""The rules of the invariants, one module per subject.

Each module has a tuple ``RULES``; a new module in this package is found automatically. An invariant is checked here,
elsewhere, or both:

| invariant | here | elsewhere |
|---|---|---|
| I1 | our own data: ``attempts`` | the auditor of the provider's ledger |
| I2 | our own data: ``attempts``, ``payments_and_refunds`` | the auditor of the provider's ledger |
| I3 | our own data: ``attempts``, ``payments_and_refunds`` | the auditor of the provider's ledger |
| I4 | ``payments_and_refunds`` | the auditor of the provider's ledger, for final refunds |
| I5 | ``history`` | |
| I6 | ``settlements`` | |
| I7 | ``settlements`` | |
| I8 | ``ledger`` | |
| I9 | ``payments_and_refunds`` | |
| I10 | ``idempotency_keys`` | |
| I11 | not checked before outgoing events exist | |
| I12 | ``bills`` | |
| I13 | ``card_numbers``: every text of the database | broker, logs, Flower: a chaos test |
| I14 | ``history`` | |
| I15 | ``provider_net``: by the statements | the auditor of the provider's net: by its ledger |
"""

from importlib import import_module
from pathlib import Path

from workflows.invariants.rule import Rule


def _collect_rules() -> tuple[Rule, ...]:
    names = sorted(file.stem for file in Path(__file__).parent.glob("*.py") if file.stem != "__init__")
    rules: list[Rule] = []
    for name in names:
        rules += import_module(f"{__name__}.{name}").RULES
    return tuple(sorted(rules, key=lambda rule: (int(rule.invariant.removeprefix("I")), rule.name)))


RULES: tuple[Rule, ...] = _collect_rules()
