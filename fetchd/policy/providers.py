"""The names of the providers that fetchd knows: what `provider` of an account may say.

The facts behind a name are in `auth.presets`, and a test holds the two together; the names
are down here so that the settings can tell a misspelt one.
"""

PROVIDERS = (
    "gmail", "google-workspace", "outlook", "microsoft365", "yahoo", "aol", "icloud", "fastmail",
    "proton", "zoho", "gmx", "webde", "ovh", "gandi", "mailbox.org", "posteo", "yandex", "mailru",
    "qq", "netease", "sina", "aliyun",
)  # fmt: skip
