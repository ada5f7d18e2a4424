# kubectl-triton: build, test, demonstrate. Only Go is needed; everything else
# is built from Go modules at the versions that the two go.mod files pin.

SHELL       := /bin/bash
.DEFAULT_GOAL := build

BIN         := bin
# Go itself is pinned by go.mod and comes from the module proxy, also where the
# environment says "local"; without a proxy the installed one has to do.
TOOLCHAIN   := $(shell sed -n 's/^toolchain //p' go.mod)
export GOTOOLCHAIN := $(shell GOTOOLCHAIN=$(TOOLCHAIN) go version >/dev/null 2>&1 && echo $(TOOLCHAIN) || echo local)
# The same flags everywhere, so that plugin, sandbox and tests share one build
# cache. Debug information is stripped by the linker anyway. Inlined is only what
# carries load: the rest is a third less work for the compiler, and a tenth less
# of the plugin, whose commands run it once. Of the standard library all but its
# largest parts that carry none.
FAST := std $(addsuffix /...,$(addprefix github.com/kubectl-triton/kubectl-triton/,pkg/bench pkg/triton pkg/portforward pkg/metrics sandbox test) \
	google.golang.org/grpc google.golang.org/protobuf golang.org/x/net golang.org/x/sys github.com/moby/spdystream \
	github.com/gorilla/websocket github.com/HdrHistogram/hdrhistogram-go k8s.io/streaming k8s.io/cri-streaming)
SLOW := crypto/tls crypto/x509 math/big encoding/xml database/sql
export GOFLAGS := -trimpath -buildvcs=false '-gcflags=all=-dwarf=false -l' \
	$(foreach p,$(FAST),-gcflags=$(p)=-dwarf=false) $(foreach p,$(SLOW),'-gcflags=$(p)=-dwarf=false -l')
# The compiler's garbage collector is most of what can be saved of a cold build
# of Kubernetes; the limit keeps it within a small machine's memory.
GO          := CGO_ENABLED=0 GOGC=off GOMEMLIMIT=2GiB go
LDFLAGS     := -s -w
# Functions begin at multiples of 8 bytes, in place of 32.
PLUGIN_LINK := $(LDFLAGS) -funcalign=8
# gRPC without its traces for a debugging page.
PLUGIN_TAGS := grpcnotrace
# What the plugin says of itself: the tag, if there is one, the commit and the
# commit's date, so that the same commit gives the same bytes. Without git, what
# the Go toolchain knows.
PLUGIN_PKG  := github.com/kubectl-triton/kubectl-triton/pkg/plugin
PLUGIN_FLAGS = $(PLUGIN_LINK) \
	-X $(PLUGIN_PKG).buildVersion=$(shell git describe --tags --exact-match --match 'v*' 2>/dev/null) \
	-X $(PLUGIN_PKG).buildCommit=$(shell git describe --always --abbrev=40 --exclude '*' --dirty 2>/dev/null) \
	-X $(PLUGIN_PKG).buildDate=$(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null)
# Helm charts and clients refuse an API server whose version they can't parse.
KUBERNETES  := v1.37.2
VERSION_PKG := k8s.io/component-base/version
KUBE_FLAGS  := $(LDFLAGS) -X $(VERSION_PKG).gitVersion=$(KUBERNETES) -X $(VERSION_PKG).gitMajor=1 -X $(VERSION_PKG).gitMinor=37
# Prometheus without any service discovery but Kubernetes'.
TAGS        := remove_all_sd,enable_kubernetes_sd
GOLANGCI    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# What makes a release, and Krew to try one. Compiled without inlining, as the
# sandbox's parts are: nobody waits for their speed.
TOOLS       := $(BIN)/tools
RELEASE_TOOLS := github.com/goreleaser/goreleaser/v2@v2.15.4 \
	github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0 \
	sigs.k8s.io/krew/cmd/krew@v0.4.3 sigs.k8s.io/krew/cmd/validate-krew-manifest@v0.4.3
VULNCHECK   := golang.org/x/vuln/cmd/govulncheck@v1.9.0
VULNDB      := golang.org/x/vulndb@v0.0.0-20261105234957-e22db6528018
TOOL_FLAGS  := GOBIN=$(abspath $(TOOLS)) GOFLAGS='-trimpath "-gcflags=all=-dwarf=false -l"'

PROGRAMS    := ./cmd/sandbox ./cmd/tritonserver ./cmd/dcgm-exporter ./cmd/grafana ./cmd/k8s-sidecar ./cmd/prometheus-config-reloader ./cmd/kube-webhook-certgen \
	github.com/prometheus/prometheus/cmd/prometheus

# Other load generators, from their Go modules; fortio's later versions need a
# module that the proxy doesn't have.
PEERS       := github.com/rakyll/hey@v0.1.5 github.com/tsenart/vegeta/v12@v12.13.0 \
	fortio.org/fortio@v1.66.5 github.com/bojand/ghz/cmd/ghz@v0.93.0

OPERATOR    := github.com/prometheus-operator/prometheus-operator
HELM_FLAGS  := $(KUBE_FLAGS) -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37

.PHONY: build sandbox kubectl helm charts promtool rules-test demo test unit e2e race vet lint benchmark benchmark-engine benchmark.test peers docs release-tools goreleaser release-snapshot release platforms vulnerabilities fuzz generate clean env

## env: the build's variables for a shell: eval "$$(make -s env)"
env:
	@echo "export GOFLAGS=\"$(GOFLAGS)\" GOTOOLCHAIN=$(GOTOOLCHAIN) CGO_ENABLED=0 GOGC=off GOMEMLIMIT=2GiB"

## build: the plugin
build:
	$(GO) build -tags $(PLUGIN_TAGS) -ldflags "$(PLUGIN_FLAGS)" -o $(BIN)/kubectl-triton ./cmd/kubectl-triton

## sandbox: a control plane with nodes, Triton, GPUs, Prometheus and Grafana on this machine
sandbox:
	@mkdir -p $(BIN)
	cd sandbox && $(GO) build $(V) -tags $(TAGS) -ldflags "$(KUBE_FLAGS)" -o ../$(BIN)/ $(PROGRAMS)
	cd sandbox/operator && $(GO) build $(V) -ldflags "$(LDFLAGS)" -o ../../$(BIN)/ $(OPERATOR)/cmd/operator

## kubectl: the stock client, for the tests and for a look around
kubectl:
	cd sandbox && $(GO) build -ldflags "$(KUBE_FLAGS)" -o ../$(BIN)/kubectl k8s.io/kubernetes/cmd/kubectl

## promtool: Prometheus's own checker of rules
promtool:
	cd sandbox && $(GO) build -tags $(TAGS) -ldflags "$(LDFLAGS)" -o ../$(BIN)/promtool github.com/prometheus/prometheus/cmd/promtool

## rules-test: the alerts and recording rules, in Prometheus's own test engine
rules-test: promtool
	$(BIN)/promtool check rules assets/rules/*.yaml
	$(BIN)/promtool test rules assets/rules/tests/*.yaml

## helm: the stock client, as a peer of observe up and for trying charts by hand
helm:
	cd sandbox && $(GO) build -ldflags "$(HELM_FLAGS)" -o ../$(BIN)/helm helm.sh/helm/v3/cmd/helm

## charts: the stand-in charts as a repository in bin/charts, the same bytes each time
charts:
	cd sandbox/operator && go mod download $(OPERATOR)
	cd sandbox && $(GO) run ./cmd/package-charts -source charts -destination ../$(BIN)/charts \
		-crds "$$(cd operator && go list -m -f '{{.Dir}}' $(OPERATOR))/example/prometheus-operator-crd"

## demo: build everything, start the sandbox, run the main job, print its summary
demo:
	@./hack/demo.sh

## test: everything; unit tests first, then end to end on the sandbox
test: unit e2e

unit: rules-test
	$(GO) test ./cmd/... ./assets/... ./pkg/... ./test/architecture/... ./test/docs/...
	cd sandbox && $(GO) test -vet=off ./...

e2e: build sandbox kubectl helm charts release-tools
	cd sandbox && $(GO) test -vet=off -tags e2e -count=1 -timeout 20m ./cluster/... ./node/...
	hack/with-sandbox.sh env $(GO) test -tags e2e -count=1 -timeout 10m ./pkg/portforward/...
	$(GO) test -tags e2e -count=1 -timeout 30m ./test/e2e/...
	$(GO) test -tags e2e -count=1 -p 1 -timeout 30m $(addsuffix /...,$(addprefix ./test/,observe check release docs direct))

## docs: what is generated in docs/: the command reference and the Roles
docs:
	$(GO) test ./pkg/plugin -run 'TestReference|TestRBACFiles' -count=1 -update

## race: the libraries under the race detector (needs a C compiler)
race:
	CGO_ENABLED=1 go test -race ./pkg/...
	cd sandbox && CGO_ENABLED=1 go test -race ./workload/... ./gpu/... ./grafana/... ./triton/... ./podpath/... ./prometheusconfig/... ./cmd/prometheus-config-reloader/...

vet:
	$(GO) vet ./...
	$(GO) vet -tags e2e ./...
	cd sandbox && $(GO) vet ./... && $(GO) vet -tags e2e ./...

## platforms: the plugin compiles where this machine can't run it; by processor
## nothing of it differs, so one of each system will do
platforms:
	@set -e; for platform in darwin/arm64 windows/amd64; do \
		echo "GOOS=$${platform%/*} GOARCH=$${platform#*/} go build ./cmd/kubectl-triton"; \
		GOOS=$${platform%/*} GOARCH=$${platform#*/} $(GO) build -tags $(PLUGIN_TAGS) -o /dev/null ./cmd/kubectl-triton; \
	done

## fuzz: every fuzz target, FUZZTIME each (60s)
fuzz:
	hack/fuzz.sh

## lint: golangci-lint with .golangci.yaml, and vulnerabilities
lint: vulnerabilities
	$(GO) run $(GOLANGCI) run ./...
	cd sandbox && $(GO) run $(GOLANGCI) run --config ../.golangci.yaml ./...

## vulnerabilities: known ones in code that the plugin reaches; the database is
## pinned too, so that the same commit gives the same answer
vulnerabilities:
	@mkdir -p $(TOOLS)
	@$(TOOL_FLAGS) $(GO) install -ldflags "$(LDFLAGS)" $(VULNCHECK)
	$(TOOLS)/govulncheck -db "file://$$(go mod download -json $(VULNDB) | sed -n 's/^.*"Dir": "\(.*\)".*$$/\1/p')/data/osv" ./cmd/kubectl-triton

## peers: what the load engine is measured beside, and the bare server for it;
## wrk and h2load are C programs of the distribution
peers:
	@mkdir -p $(BIN)
	@set -e; for peer in $(PEERS); do \
		name=$${peer%@*}; name=$${name%/v[0-9]*}; \
		[ -x $(BIN)/$${name##*/} ] || GOFLAGS=-trimpath GOBIN=$(abspath $(BIN)) $(GO) install $$peer; \
	done
	@command -v wrk h2load >/dev/null || apt-get install -y wrk nghttp2-client
	$(GO) build -ldflags "$(LDFLAGS)" -o $(BIN)/ ./test/benchmark/target ./test/benchmark/engine

## release-tools: GoReleaser, its list of what a program is made of, and Krew
release-tools:
	@mkdir -p $(TOOLS)
	@set -e; for tool in $(RELEASE_TOOLS); do $(TOOL_FLAGS) $(GO) install -ldflags "$(LDFLAGS)" $$tool; done

# GoReleaser asks git for a remote and, where there is none, takes a snapshot to be
# of no commit at all.
GORELEASER   = PATH=$(abspath $(TOOLS)):$$PATH CGO_ENABLED=0 GOGC=off GOMEMLIMIT=2GiB \
	$(shell git ls-remote --get-url >/dev/null 2>&1 || echo GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=remote.origin.url \
		GIT_CONFIG_VALUE_0=https://github.com/kubectl-triton/kubectl-triton.git) goreleaser
# Where there is no tag it doesn't look whether all changes are committed.
SNAPSHOT_TAG = $(shell git describe --tags >/dev/null 2>&1 || echo GORELEASER_CURRENT_TAG=v0.0.0)

## goreleaser: GoReleaser with the settings of a release and the arguments in ARGS
goreleaser:
	$(GORELEASER) $(ARGS)

## release-snapshot: all archives of a release into dist/, without publishing, and checked
release-snapshot: kubectl release-tools
	$(SNAPSHOT_TAG) $(GORELEASER) release --snapshot --clean
	$(GO) test -tags e2e -count=1 -run TestCompleteRelease ./test/release -dist dist

## release: the same of a tag, published; needs GITHUB_TOKEN
release: release-tools
	$(GORELEASER) release --clean

## benchmark: measure against named peers, write docs/benchmarks.md
benchmark: build sandbox kubectl helm charts peers benchmark.test
	cd test/benchmark && ../../$(BIN)/benchmark.test -test.v -test.timeout 90m

## benchmark-engine: of these only the load engine, which needs no sandbox. On a
## machine without Go: copy bin/benchmark.test and what "make peers" installs, and
## run BENCHMARK_BIN=DIR BENCHMARK_TABLE=FILE DIR/benchmark.test -test.v \
##   -test.timeout 30m -test.run 'TestEngine|TestAccuracy'; peers that are missing
## are left out, -test.short is a first look.
benchmark-engine: peers benchmark.test
	cd test/benchmark && ../../$(BIN)/benchmark.test -test.v -test.timeout 40m -test.run 'TestEngine|TestAccuracy'

# Compiled and run apart: the compiler's settings of the garbage collector would
# hold for what is measured too.
benchmark.test:
	$(GO) test -tags benchmark -c -o $(BIN)/benchmark.test ./test/benchmark

generate:
	go generate ./...

clean:
	rm -rf $(BIN)
