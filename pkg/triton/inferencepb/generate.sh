#!/bin/sh
# Regenerates the Go code of the .proto files beside this script with pinned
# plugins, built into a temporary directory. Needs protoc 3.21 or later.
# The files register under inferencepb/, so that plain names such as
# service.proto cannot clash with those of another module in one program.
set -eu
cd "$(dirname "$0")/.."
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN=$bin go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
GOBIN=$bin go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
PATH=$bin:$PATH protoc \
	--go_out=. --go_opt=paths=source_relative \
	--go-grpc_out=. --go-grpc_opt=paths=source_relative \
	inferencepb/*.proto
