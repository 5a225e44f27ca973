# Two stages: a machine that builds, and an image that has the binary and nothing to build with.
FROM rust:1.95-bookworm AS build
WORKDIR /src
# librdkafka, OpenSSL and libcurl are built from their crates; the image has gcc, make and perl.
COPY Cargo.toml Cargo.lock build.rs ./
COPY crates crates
COPY benches benches
COPY schemas schemas
COPY deploy/salesforce deploy/salesforce
COPY src src
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin rollbook && cp target/release/rollbook /rollbook

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="rollbook" \
      org.opencontainers.image.description="Events from Kafka, folded per campaign member, to Salesforce" \
      org.opencontainers.image.licenses="Apache-2.0"
# Authorities that Salesforce's certificates are checked against, and curl for the health check.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 65532 --no-create-home rollbook \
    # For state.dir; a volume that is mounted here belongs to the user, too.
    && install -d -o 65532 -m 0700 /var/lib/rollbook
# States are kept in the subfolder `state` unless state.dir says otherwise.
ENV STATE_DIRECTORY=/var/lib/rollbook
COPY --from=build /rollbook /usr/local/bin/rollbook
USER 65532
EXPOSE 9464
# Fails the build if the binary does not start here.
RUN ["rollbook", "--version"]
ENTRYPOINT ["rollbook"]
CMD ["run", "--config", "/etc/rollbook/rollbook.toml"]
