# SteelDB with PostgreSQL from Debian's packages: replica, proxy and command in one image.
# docker-compose.yml starts four replicas and a proxy of it.

FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p steeldb

FROM debian:bookworm-slim
# The package makes no cluster of its own: each replica makes its private one.
RUN mkdir -p /etc/postgresql-common/createcluster.d \
    && echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.d/steeldb.conf \
    && apt-get update \
    && apt-get install -y --no-install-recommends postgresql-15 postgresql-client-15 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/steeldb /usr/local/bin/steeldb
# Volumes that are mounted here for the first time take over owner and mode. /data is one process's directory, /cluster
# all of them, as `steeldb init` writes them.
RUN install -d -o postgres -g postgres -m 0700 /data /cluster \
    /cluster/replica-0 /cluster/replica-1 /cluster/replica-2 /cluster/replica-3 /cluster/proxy
USER postgres
EXPOSE 5432 7400
ENTRYPOINT ["steeldb"]
CMD ["--help"]
