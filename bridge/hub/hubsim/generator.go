package hubsim

import (
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// defaultTopics is the mix when Options.Topics is empty: what a hub with some
// environments under deployment sends most.
var defaultTopics = []string{
	"container.new", "container.state.changed", "container.state.changed", "container.state.changed",
	"container.desired_state.changed", "container.reconfigured", "container.updated", "container.error", "container.error_reset",
	"container.instance.state.changed", "container.instance.state.changed", "container.instance.state.changed",
	"container.instance.health.status.changed", "container.instance.readiness.status.changed", "container.instance.error",
	"container.instances.reconfigured",
	"environment.state.changed", "environment.started", "environment.stopped", "environment.deployments.reconfigured",
	"environment.services.reconfigured",
	"image.new", "image.state.changed",
	"stack.build.new", "stack.build.state.changed",
	"pipeline.run.new", "pipeline.run.state.changed", "pipeline.run.completed",
	"job.new", "job.state.changed",
	"dns.zone.state.changed", "dns.certificate.state.changed", "dns.zone.record.state.changed",
	"infrastructure.server.state.changed", "infrastructure.server.evacuation.started",
	"virtual-machine.state.changed", "virtual-machine.error",
	"hub.activity.new",
}

// actions are the ends of a topic that say what happened; what stands before
// is the kind of object.
var actions = []string{
	".state.changed", ".desired_state.changed", ".health.status.changed", ".readiness.status.changed",
	".error_reset", ".error", ".new", ".created", ".updated", ".reconfigured", ".verified", ".started", ".stopped",
	".completed", ".ips.modified",
}

// lifecycles are the states an object of a kind walks through for ever, by
// the longest prefix of the kind.
var lifecycles = []struct {
	kind   string
	states []string
}{
	{"container.instance", []string{"new", "starting", "running", "stopping", "stopped", "starting", "running", "failed"}},
	{"container.backup", []string{"new", "running", "live", "deleting", "deleted"}},
	{"container", []string{"new", "deploying", "deployed", "starting", "running", "stopping", "stopped"}},
	{"environment", []string{"new", "live", "cleaning", "live", "deleting", "deleted"}},
	{"image", []string{"new", "downloading", "building", "verifying", "saving", "live"}},
	{"stack.build", []string{"new", "importing", "generating", "live"}},
	{"pipeline.run", []string{"new", "acquiring", "queued", "running", "completed"}},
	{"job", []string{"new", "queued", "scheduled", "running", "completed"}},
	{"infrastructure.server", []string{"new", "provisioning", "live", "offline", "live", "decommissioning", "decommissioned"}},
	{"virtual-machine", []string{"new", "starting", "running", "stopping", "stopped"}},
	{"dns.zone", []string{"new", "pending", "live", "disabled", "live"}},
	{"dns.certificate", []string{"new", "generating", "live", "revoked"}},
	{"", []string{"new", "configuring", "live", "deleting", "deleted"}},
}

// simObject is a thing of the simulated hub.
type simObject struct {
	id, label            string
	kind                 *simKind
	env, cluster, parent string // ids, except cluster, which is a name
	state                int
}

type simKind struct {
	name   string
	topics []string
	states []string
}

// filler makes labels longer, up to the size that is asked for.
const filler = " and what people write about it"

// generator makes notifications. The same options and seed make the same
// notifications. It is for one goroutine.
type generator struct {
	rng     *rand.Rand
	objects []simObject
	hubID   string
	account string
	size    int
}

func splitTopic(topic string) (kind, action string) {
	for _, a := range actions {
		if k, ok := strings.CutSuffix(topic, a); ok && k != "" {
			return k, a[1:]
		}
	}
	if i := strings.LastIndexByte(topic, '.'); i > 0 {
		return topic[:i], topic[i+1:]
	}
	return topic, ""
}

func statesOf(kind string) []string {
	for _, l := range lifecycles {
		if kind == l.kind || l.kind == "" || strings.HasPrefix(kind, l.kind+".") {
			return l.states
		}
	}
	return nil
}

func newGenerator(o Options) *generator {
	g := &generator{
		rng:   rand.New(rand.NewPCG(o.Seed, 0x6879_6275_7369_6d00)),
		hubID: o.HubID,
		size:  o.Size,
	}
	g.account = g.newID()
	var kinds []*simKind
	byName := map[string]*simKind{}
	for _, t := range o.Topics {
		name, _ := splitTopic(t)
		k := byName[name]
		if k == nil {
			k = &simKind{name: name, states: statesOf(name)}
			byName[name] = k
			kinds = append(kinds, k)
		}
		k.topics = append(k.topics, t)
	}
	environments := make([]string, max(1, o.Objects/25))
	for i := range environments {
		environments[i] = g.newID()
	}
	clusters := []string{"production", "staging", "edge"}
	// A kind with more topics in the mix has more objects.
	var spread []*simKind
	for _, k := range kinds {
		spread = append(spread, slices.Repeat([]*simKind{k}, len(k.topics))...)
	}
	g.objects = make([]simObject, o.Objects)
	for i := range g.objects {
		k := spread[i%len(spread)]
		family, _, _ := strings.Cut(k.name, ".")
		g.objects[i] = simObject{
			id: g.newID(), kind: k, parent: g.newID(),
			label:   family + "-" + strconv.Itoa(i),
			env:     environments[g.rng.IntN(len(environments))],
			cluster: clusters[g.rng.IntN(len(clusters))],
			state:   g.rng.IntN(len(k.states)),
		}
	}
	return g
}

// newID returns an id of the ObjectID layout: seconds of creation, then chance.
func (g *generator) newID() string {
	var b [12]byte
	sec := 0x65000000 + g.rng.Uint32N(0x1000000)
	b[0], b[1], b[2], b[3] = byte(sec>>24), byte(sec>>16), byte(sec>>8), byte(sec)
	for i := 4; i < 12; i++ {
		b[i] = byte(g.rng.Uint32())
	}
	return hex.EncodeToString(b[:])
}

// meta is what filters look at.
type meta struct {
	topic, env, cluster, container string
}

// append appends one notification to dst. With number > 0 it carries it, and
// at, under annotations.
func (g *generator) append(dst []byte, number uint64, at int64) ([]byte, meta) {
	start := len(dst)
	o := &g.objects[g.rng.IntN(len(g.objects))]
	topic := o.kind.topics[g.rng.IntN(len(o.kind.topics))]
	_, action := splitTopic(topic)
	m := meta{topic: topic}

	dst = append(dst, `{"topic":"`...)
	dst = append(dst, topic...)
	dst = append(dst, `","object":{"id":"`...)
	dst = append(dst, o.id...)
	dst = append(dst, '"')
	switch action {
	case "state.changed":
		previous := o.kind.states[o.state]
		o.state = (o.state + 1) % len(o.kind.states)
		dst = append(dst, `,"state":"`...)
		dst = append(dst, o.kind.states[o.state]...)
		dst = append(dst, `","state_previous":"`...)
		dst = append(dst, previous...)
		dst = append(dst, '"')
	case "error":
		dst = append(dst, `,"state":"`...)
		dst = append(dst, o.kind.states[o.state]...)
		dst = append(dst, `","error":"simulated error: \"exit status 1\""`...)
	case "new", "created":
		dst = append(dst, `,"state":"`...)
		dst = append(dst, o.kind.states[o.state]...)
		dst = append(dst, '"')
	}
	dst = append(dst, `},"context":{"hub_id":"`...)
	dst = append(dst, g.hubID...)
	dst = append(dst, `","account_id":"`...)
	dst = append(dst, g.account...)
	dst = append(dst, '"')
	var vm, zone string
	switch kind := o.kind.name; {
	case kind == "container":
		m.env, m.cluster, m.container = o.env, o.cluster, o.id
	case strings.HasPrefix(kind, "container."):
		m.env, m.cluster, m.container = o.env, o.cluster, o.parent
	case kind == "environment":
		m.env, m.cluster = o.id, o.cluster
	case strings.HasPrefix(kind, "environment."), strings.HasPrefix(kind, "stack"), strings.HasPrefix(kind, "sdn"):
		m.env, m.cluster = o.env, o.cluster
	case strings.HasPrefix(kind, "virtual-machine"):
		m.env, m.cluster, vm = o.env, o.cluster, o.id
	case strings.HasPrefix(kind, "dns"):
		zone = o.id
	case strings.HasPrefix(kind, "infrastructure"):
		m.cluster = o.cluster
	}
	dst = appendList(dst, `,"environments":`, m.env)
	dst = appendList(dst, `,"dns_zones":`, zone)
	dst = appendList(dst, `,"clusters":`, m.cluster)
	dst = appendList(dst, `,"containers":`, m.container)
	dst = appendList(dst, `,"virtual_machines":`, vm)
	dst = append(dst, `,"label":"`...)
	dst = append(dst, o.label...)
	// What follows the label has 16 bytes, and about 60 more with a number.
	fill := g.size - 16 - (len(dst) - start)
	if number > 0 {
		fill -= 60
	}
	for ; fill > 0; fill -= len(filler) {
		dst = append(dst, filler[:min(len(filler), fill)]...)
	}
	dst = append(dst, `"},"flags":null`...)
	if number > 0 {
		dst = append(dst, `,"annotations":{"sim_seq":`...)
		dst = strconv.AppendUint(dst, number, 10)
		dst = append(dst, `,"sim_at":`...)
		dst = strconv.AppendInt(dst, at, 10)
		dst = append(dst, '}')
	} else if action == "health.status.changed" {
		dst = append(dst, `,"annotations":{"health":"healthy"}`...)
	}
	return append(dst, '}'), m
}

func appendList(dst []byte, name, id string) []byte {
	dst = append(dst, name...)
	if id == "" {
		return append(dst, "null"...)
	}
	dst = append(dst, `["`...)
	dst = append(dst, id...)
	return append(dst, `"]`...)
}
