package plugin

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"time"
)

// grafanaRange is a time range in the form of Grafana's addresses: each end is
// relative ("now-15m") or an epoch in ms.
type grafanaRange struct{ from, to string }

// relativeTime is Grafana's own form: now, an offset, a rounding.
var relativeTime = regexp.MustCompile(`^now([+-]\d+[smhdwMy])?(/[smhdwMyQ])?$`)

// newGrafanaRange reads both ends; now is what a time ago counts from when the
// two are compared.
func newGrafanaRange(from, to string, now time.Time) (grafanaRange, error) {
	var r grafanaRange
	var begin, end time.Time
	var err error
	if r.from, begin, err = grafanaTime(from, now); err != nil {
		return r, fmt.Errorf("--from %w", err)
	}
	if r.to, end, err = grafanaTime(to, now); err != nil {
		return r, fmt.Errorf("--to %w", err)
	}
	if !begin.IsZero() && !end.IsZero() && !begin.Before(end) {
		return r, fmt.Errorf("--from %s is not before --to %s; a time ago grows towards the past, as in --from 2h --to 1h", from, to)
	}
	return r, nil
}

// grafanaTime turns one end into Grafana's form. The time is zero where only
// Grafana can tell it.
func grafanaTime(text string, now time.Time) (string, time.Time, error) {
	if text == "now" {
		return text, now, nil
	}
	if relativeTime.MatchString(text) {
		return text, time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		// Grafana knows whole numbers of one unit only.
		return fmt.Sprintf("now-%ds", int64(ago.Round(time.Second)/time.Second)), now.Add(-ago), nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return strconv.FormatInt(at.UnixMilli(), 10), at, nil
	}
	const leastEpochMS = 1e12 // September 2001; less is more likely seconds
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms >= leastEpochMS {
		return text, time.UnixMilli(ms), nil
	}
	return "", time.Time{}, fmt.Errorf("is %q; it must be a time ago such as 15m or 2h30m, an RFC 3339 time such as 2006-01-02T15:04:05Z, milliseconds since 1970, or Grafana's own form such as now-2d/d", text)
}

// dashboardURL is the address of a dashboard over the range.
func (r grafanaRange) dashboardURL(base, uid string) string {
	query := url.Values{"from": {r.from}, "to": {r.to}}
	return base + "/d/" + url.PathEscape(uid) + "?" + query.Encode()
}
