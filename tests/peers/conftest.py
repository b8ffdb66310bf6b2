from tests.support.viewing import onlooker

__all__ = ["onlooker"]
