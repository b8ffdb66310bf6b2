from tests.support.viewing import onlooker, pictures

__all__ = ["onlooker", "pictures"]
