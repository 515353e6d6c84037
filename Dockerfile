# syntax=docker/dockerfile:1
# The image: the program, its modules and pipeline.toml; runs as a user without a name, by number.

FROM rust:1.95-bookworm AS build
RUN rustup target add wasm32-unknown-unknown
WORKDIR /src
COPY . .
# OpenSSL is compiled in, so that the runtime stage needs no library of it.
RUN make OPENSSL_NO_VENDOR= build

FROM debian:bookworm-slim AS runtime
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates curl \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/trailhound /usr/local/bin/trailhound
COPY --from=build /src/target/rules /etc/trailhound/target/rules
COPY pipeline.toml /etc/trailhound/pipeline.toml
WORKDIR /etc/trailhound
USER 65532:65532
EXPOSE 9464
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["curl", "--fail", "--silent", "--show-error", "http://127.0.0.1:9464/healthz"]
ENTRYPOINT ["trailhound"]
CMD ["run", "--config", "/etc/trailhound/pipeline.toml"]
