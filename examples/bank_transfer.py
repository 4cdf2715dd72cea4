"""The tools of `bank_transfer.yaml`: a bank with one account, in memory.

They know nothing of policy: that a transfer needs two yeses stands in the YAML, where an auditor can read it.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Bank:
    balance: float = 500.0
    transfers: list[tuple[float, str]] = field(default_factory=list)


bank = Bank()


def account_balance() -> str:
    """How much money is in the account."""
    return f"{bank.balance:.0f} euros"


def make_transfer(amount: float, to: str) -> str:
    """Transfer money to somebody.

    Args:
        amount: in euros
        to: name of the person who gets it
    """
    if not 0 < amount <= bank.balance:
        return f"Not possible: there are {bank.balance:.0f} euros in the account."
    bank.balance -= amount
    bank.transfers.append((amount, to))
    return f"{amount:.0f} euros are on their way to {to}."
