"""MySQL and MariaDB, through connections of aiomysql."""
