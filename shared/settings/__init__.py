"""Settings: environment and TOML file to one frozen value, all mistakes at once.

Sources, strongest first: `XDSI_<SERVICE>__NAME`, `XDSI_NAME`, the same names as systemd credentials, the
file's `[<service>]` table, the file's top level, the default. A secret may stand in a file of its own, which
`NAME__FILE` names. `docs/settings.md` is printed from these classes.
"""

from shared.settings.assertion import AssertionSettings, VoiceSettings
from shared.settings.audit import AuditSettings, OnFull
from shared.settings.consent import ConsentSettings, ConsentSource, Default
from shared.settings.error import SettingsError
from shared.settings.group import HIDDEN, Group, is_secret, secret
from shared.settings.kinds import HttpUrl
from shared.settings.loopback import is_loopback
from shared.settings.names import PREFIX, SEPARATOR, nested
from shared.settings.rights import RightsSettings
from shared.settings.service import LogLevel, PatientPolicy, ServiceSettings, XuaMode
from shared.settings.sign_in import SignInSettings
from shared.settings.storage import S3Settings, StorageSettings
from shared.settings.tls import Revocation, TlsSettings
from shared.settings.token import TokenSettings

__all__ = [
    "HIDDEN",
    "PREFIX",
    "SEPARATOR",
    "AssertionSettings",
    "AuditSettings",
    "ConsentSettings",
    "ConsentSource",
    "Default",
    "Group",
    "HttpUrl",
    "LogLevel",
    "OnFull",
    "PatientPolicy",
    "Revocation",
    "RightsSettings",
    "S3Settings",
    "ServiceSettings",
    "SettingsError",
    "SignInSettings",
    "StorageSettings",
    "TlsSettings",
    "TokenSettings",
    "VoiceSettings",
    "XuaMode",
    "is_loopback",
    "is_secret",
    "nested",
    "secret",
]
