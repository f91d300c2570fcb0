"""A destination whose provider counts what is put there: an IMAP mailbox with a budget.

The octets count into the purse of that user, whom mail may be fetched from as well. Where
the budget is spent the destination is out of reach until it frees, and what waits for it
waits; that is told like any other destination that is out of reach.
"""

from collections.abc import Sequence
from contextlib import suppress

from fetchd.contracts import (
    Carrier,
    Courier,
    DeliverySession,
    Outcome,
    Outgoing,
    Settled,
    Watch,
    unwatched,
)
from fetchd.destinations import open_destination
from fetchd.errors import FetchdError
from fetchd.pipeline.allowance import Allowance, Allowances
from fetchd.policy.budget import What
from fetchd.settings import Destination, ImapDestination


def open_counted(
    settings: Destination, instance: str, allowances: Allowances
) -> DeliverySession | Carrier:
    """`open_destination`, and a budget kept where there is one."""
    if not isinstance(settings, ImapDestination):
        return open_destination(settings, instance)
    allowance = allowances.at(settings)
    carrier = open_destination(settings, instance, allowance.meter)
    assert isinstance(carrier, Carrier)
    return PayingCarrier(carrier, allowance)


class PayingCarrier:
    """As contracts.Carrier says."""

    def __init__(self, carrier: Carrier, allowance: Allowance) -> None:
        self.terms = carrier.terms
        self._carrier, self._allowance = carrier, allowance

    async def open(self, watch: Watch = unwatched) -> Courier:
        """BudgetSpent where nothing is left to send, or no login."""
        await self._allowance.check(What.UPLOAD)
        courier = await self._allowance.enter(lambda: self._carrier.open(watch), What.LOGINS)
        return PayingCourier(courier, self._allowance)

    async def probe(self, watch: Watch = unwatched) -> None:
        """Asked by a person, who may."""
        await self._carrier.probe(watch)


class PayingCourier:
    """As contracts.Courier says."""

    def __init__(self, courier: Courier, allowance: Allowance) -> None:
        self._courier, self._allowance = courier, allowance

    @property
    def in_doubt(self) -> bool:
        """As the one says who carries."""
        return self._courier.in_doubt

    async def carry(self, letters: Sequence[Outgoing]) -> Sequence[Settled]:
        """As many as there is room for; BudgetSpent, with nothing sent, where it is none."""
        count = self._allowance.fitting([letter.size for letter in letters])
        settled = await self._courier.carry(letters[:count])
        await self._allowance.checkpoint()
        late = letters[count:]
        if not late:
            return settled
        why = self._allowance.is_spent(What.UPLOAD, late[0].size).whole
        return [*settled, *(Settled(one.id, Outcome.DEFERRED, why) for one in late)]

    async def close(self) -> None:
        """Part in good order, and remember what was spent."""
        await self._courier.close()
        with suppress(FetchdError):  # what is not written down now is with the next
            await self._allowance.settle()
