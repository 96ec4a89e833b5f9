# One build for all programs; PROGRAM says which one an image holds:
#   docker build --build-arg PROGRAM=payment-service .

FROM rust:1.95-slim-bookworm AS builder
WORKDIR /build
COPY . .
# The names of functions stay, for backtraces; lines and types are four fifths of a program.
ENV CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=debuginfo
# The caches outlive the build, so the programs have to leave them. `locked`: several images are built at once.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    cargo build --release --locked --bins -p migrations -p order-service -p payment-service -p inventory-service \
        -p audit -p sagactl \
    && mkdir /programs \
    && cp target/release/migrate target/release/order-service target/release/payment-service \
          target/release/inventory-service target/release/audit target/release/sagactl /programs/
# All that a program needs besides itself: its loader and libraries, where host names are looked up, and whom TLS trusts.
RUN mkdir /root-fs \
    && ldd /programs/* | grep -o '/[^ :]*\.so[^ ]*' | sort -u | xargs cp --dereference --parents --target-directory=/root-fs \
    && cp --dereference --parents --target-directory=/root-fs /etc/nsswitch.conf /etc/ssl/certs/ca-certificates.crt

FROM scratch
COPY --from=builder /root-fs /
ARG PROGRAM=order-service
COPY --from=builder /programs/${PROGRAM} /program
# By number: Kubernetes' runAsNonRoot cannot tell who a name is.
USER 10001:10001
EXPOSE 3001 3002 3003 3009
# The program asks itself: there is no shell and no curl in the image.
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=6 CMD ["/program", "--health"]
ENTRYPOINT ["/program"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="${PROGRAM}" \
      org.opencontainers.image.description="Order Saga, a durable saga orchestrator on RabbitMQ and PostgreSQL: ${PROGRAM}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
