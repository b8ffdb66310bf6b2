"""By what a person proves to be it: a password with the code of an app, or a passkey."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial

from identity.domain.authorization import SignIn
from identity.domain.passkey import Answer, PasskeyRefused, Site, decoded, used
from identity.domain.password import is_password
from identity.domain.person import Person
from identity.store import credentials, people
from identity.unit import Parts

#: Each comparison takes 19 MiB; so many are made at a time.
AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Proof:
    """Who signed in, and how."""

    person: Person
    sign_in: SignIn


@dataclass(frozen=True, slots=True)
class Disproof:
    """Nobody did; `reason` is for the trail alone."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PasskeyAnswer:
    """What a passkey answered, as a browser sends it: in base64url without padding."""

    credential_id: str
    client_data: str
    authenticator_data: str
    signature: str = ""

    @property
    def value(self) -> Answer:
        """The octets; raises `PasskeyRefused`."""
        return Answer(
            client_data=decoded(self.client_data),
            authenticator_data=decoded(self.authenticator_data),
            signature=decoded(self.signature),
        )


class Passwords:
    """Compares passwords, a few at a time; it takes as long for a name that nobody has."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def proof(self, desk: Parts, name: str, password: str, code: str) -> Proof | Disproof:
        """Whether `password`, and the `code` of an app where there is one, are of the person `name`."""
        of_person = await credentials.find_credentials(desk.database, name)
        async with self._turns:
            is_right = await asyncio.to_thread(is_password, password, of_person.password)
        person = await people.find_by_name(desk.database, name)
        if not is_right or person is None:
            return Disproof("the password is wrong")
        if person.disabled:
            return Disproof("the person is disabled")
        if of_person.app is None:
            if desk.settings.second_factor:
                return Disproof("the person has no second factor (XDSI_IDENTITY__SECOND_FACTOR)")
            return Proof(person, _now(name, "pwd"))
        step = of_person.app.step_of(code.replace(" ", ""), time.time())
        if step is None:
            return Disproof("the code is wrong, or was used")
        use = partial(credentials.use_app, name=name, app=of_person.app, step=step)
        if not await desk.database.write(use):
            return Disproof("the code was used just now")
        return Proof(person, _now(name, "pwd", "otp", "mfa"))


async def passkey_proof(desk: Parts, site: Site, challenge: str, answer: PasskeyAnswer) -> Proof | Disproof:
    """Whether a passkey of somebody signed `challenge`."""
    owned = await credentials.find_passkey(desk.database, answer.credential_id)
    if owned is None:
        return Disproof("the passkey is of nobody")
    name, before = owned
    try:
        after = used(site, challenge, answer.value, before)
    except PasskeyRefused as error:
        return Disproof(f"the passkey: {error}")
    person = await people.find_by_name(desk.database, name)
    if person is None or person.disabled:
        return Disproof("the person is disabled")
    if not await desk.database.write(partial(credentials.use_passkey, before=before, after=after)):
        return Disproof("the passkey was used just now")
    return Proof(person, _now(name, "hwk", "user", "mfa"))


def _now(name: str, *methods: str) -> SignIn:
    return SignIn(name=name, seconds=int(time.time()), methods=methods)
