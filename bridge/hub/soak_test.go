package hub

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge/hub/hubsim"
)

// masked is what comes of the simulator's masked frame, which is not in its
// ledger.
const masked = string('{'^1) + string('}'^2)

// Random faults: nothing comes twice or out of order, nothing that
// was never sent, and what the hub wrote to a connection is missing only
// from the end of that connection.
func TestSoak(t *testing.T) {
	for seed := range uint64(2) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, hubsim.Options{Rate: 50, Numbered: true, Ledger: true, Seed: seed, FaultRate: 0.1})
			f, stop := r.connect(t)
			r.sim.Start()
			time.Sleep(15 * time.Minute)
			r.sim.Stop()
			r.sim.ClearFaults()
			time.Sleep(2 * time.Minute)
			s := f.Status()
			if s.Connections != 1 || s.Reconnects < 20 {
				t.Fatalf("seed %d: got %d connections and %d reconnects, problem %q", seed, s.Connections, s.Reconnects, s.Problem)
			}
			stop()

			ledger := r.sim.Ledger()
			got := map[uint32][]string{}
			var last uint64
			for _, e := range r.in.all() {
				var n struct {
					Annotations struct {
						Seq uint64 `json:"sim_seq"`
					} `json:"annotations"`
				}
				if json.Unmarshal(e.Raw, &n) == nil && n.Annotations.Seq > 0 {
					if n.Annotations.Seq <= last {
						t.Fatalf("seed %d: got %d after %d", seed, n.Annotations.Seq, last)
					}
					last = n.Annotations.Seq
				}
				if string(e.Raw) != masked {
					got[e.Conn] = append(got[e.Conn], string(e.Raw))
				}
			}
			// Connections that were opened, in order, against those that brought events.
			var brought [][]string
			for c := uint32(1); c < 100_000 && len(got) > 0; c++ {
				if raws, ok := got[c]; ok {
					brought = append(brought, raws)
					delete(got, c)
				}
			}
			frames := map[uint64]string{}
			for _, fr := range ledger.Frames {
				if fr.Frame[0]&0x80 != 0 { // not in pieces
					frames[fr.Seq] = string(fr.Payload())
				}
			}
			i := 0
			for _, c := range ledger.Conns {
				if len(c.Written) == 0 || i == len(brought) {
					continue
				}
				first, whole := frames[c.Written[0].Seq], brought[i]
				if first != whole[0] {
					continue // the client left before it read anything
				}
				i++
				for k, raw := range whole {
					if k >= len(c.Written) {
						break // written, and the connection ended before the ledger knew
					}
					if want := frames[c.Written[k].Seq]; want != "" && len(want) <= maxWhole && raw != want {
						t.Fatalf("seed %d: connection %d, message %d: got %.200s\nwant %.200s", seed, c.ID, k, raw, want)
					}
				}
			}
			if i != len(brought) {
				t.Errorf("seed %d: %d of %d connections are in the ledger", seed, i, len(brought))
			}
		})
	}
}
