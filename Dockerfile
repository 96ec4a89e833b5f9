# One build for all programs; PROGRAM says which one an image holds:
#   docker build --build-arg PROGRAM=payment-service .

FROM rust:1.95-slim-bookworm AS builder
WORKDIR /build
COPY . .
# The caches outlive the build, so the programs have to leave them. `locked`: several images are built at once.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    cargo build --release --locked --bins -p migrations -p order-service -p payment-service -p inventory-service \
        -p audit \
    && mkdir /programs \
    && cp target/release/migrate target/release/order-service target/release/payment-service \
          target/release/inventory-service target/release/audit /programs/

FROM debian:bookworm-slim
RUN useradd --system --no-create-home --uid 10001 saga
ARG PROGRAM=order-service
COPY --from=builder /programs/${PROGRAM} /usr/local/bin/program
USER saga
EXPOSE 3001 3002 3003 3009
# The program asks itself: no curl in the image.
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=6 CMD ["program", "--health"]
CMD ["program"]
