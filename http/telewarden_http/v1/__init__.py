"""Version 1 of the API: the feed, consumers, administration. Its shapes are msgspec structs: requests are decoded from
them, answers encoded, and the OpenAPI document made."""
