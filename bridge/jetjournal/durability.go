package jetjournal

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// checkDurability looks whether an external server syncs every write. That
// can be seen with system credentials only.
func (j *Journal) checkDurability(ctx context.Context) error {
	if j.cfg.Durability == DurabilityRelaxed {
		return nil
	}
	tctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	m, err := j.link.nc.RequestWithContext(tctx, "$SYS.REQ.SERVER.PING.VARZ", nil)
	var out struct {
		Data struct {
			JetStream struct {
				Config *struct {
					SyncAlways bool `json:"sync_always"`
				} `json:"config"`
			} `json:"jetstream"`
		} `json:"data"`
	}
	if err == nil {
		err = json.Unmarshal(m.Data, &out)
	}
	if err != nil || out.Data.JetStream.Config == nil {
		j.warnings = append(j.warnings, fmt.Sprintf(
			"it cannot be seen whether the server of %s syncs every write: set jetstream { sync_interval: always } there, or a power cut can lose the whole journal (journal.durability: relaxed accepts that)",
			j.where))
		return nil
	}
	if !out.Data.JetStream.Config.SyncAlways {
		return &bridge.Error{
			Op: "open journal", Kind: bridge.KindMisconfigured,
			Err:  fmt.Errorf("the server of %s does not sync every write: a power cut can lose the whole journal", j.where),
			Hint: "set jetstream { sync_interval: always } there, or journal.durability: relaxed to accept that",
		}
	}
	return nil
}

// copies is the number of replicas of the journal's streams.
func (j *Journal) copies(ctx context.Context) (int, error) {
	if j.server != nil {
		if j.cfg.Replicas > 1 {
			return 0, &bridge.Error{
				Op: "open journal", Kind: bridge.KindMisconfigured,
				Err:  fmt.Errorf("journal.replicas is %d, and the embedded server is alone", j.cfg.Replicas),
				Hint: "set journal.url to a JetStream cluster, or journal.replicas to 1",
			}
		}
		return 1, nil
	}
	if j.cfg.Replicas > 0 {
		return int(j.cfg.Replicas), nil
	}
	// auto: a cluster of three or more has at least two other addresses.
	if len(j.link.nc.DiscoveredServers()) >= 2 && j.link.nc.ConnectedClusterName() != "" {
		return 3, nil
	}
	return 1, ctx.Err()
}
