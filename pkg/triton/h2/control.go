package h2

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func (c *conn) receiveSettings(h frameHeader, payload []byte) error {
	const settingBytes = 6
	ack := h.flags.Has(http2.FlagSettingsAck)
	switch {
	case h.stream != 0:
		return breach(http2.ErrCodeProtocol, "settings for stream %d", h.stream)
	case ack && len(payload) > 0, len(payload)%settingBytes != 0:
		return breach(http2.ErrCodeFrameSize, "a SETTINGS frame of %d bytes", len(payload))
	case ack:
		return nil
	}
	for ; len(payload) > 0; payload = payload[settingBytes:] {
		id, value := http2.SettingID(binary.BigEndian.Uint16(payload)), binary.BigEndian.Uint32(payload[2:])
		if err := c.set(id, value); err != nil {
			return err
		}
	}
	c.settled = true
	c.out = appendFrameHeader(c.out, 0, http2.FrameSettings, http2.FlagSettingsAck, 0)
	c.takeTurns()
	c.wakeForRoom()
	return c.limitReplies()
}

func (c *conn) set(id http2.SettingID, value uint32) error {
	switch id {
	case http2.SettingHeaderTableSize:
		c.requestHeader.limitTable(value)
	case http2.SettingEnablePush:
		if value != 0 {
			return breach(http2.ErrCodeProtocol, "it sets %v to %d", id, value)
		}
	case http2.SettingMaxConcurrentStreams:
		c.maxStreams = int(min(value, maxStreamID))
	case http2.SettingInitialWindowSize:
		if value > maxWindow {
			return breach(http2.ErrCodeFlowControl, "it sets %v to %d", id, value)
		}
		// Of the streams that are open, too; a window may become negative.
		for _, k := range c.streams {
			k.window += int64(value) - c.streamWindow
			if k.window > maxWindow {
				return breach(http2.ErrCodeFlowControl, "it sets %v to %d, which makes a window too large", id, value)
			}
		}
		c.streamWindow = int64(value)
	case http2.SettingMaxFrameSize:
		if value < maxFrameBytes || value >= 1<<24 {
			return breach(http2.ErrCodeProtocol, "it sets %v to %d", id, value)
		}
		c.maxFrameBytes = int(value)
	}
	return nil
}

func (c *conn) receivePing(h frameHeader, payload []byte) error {
	switch {
	case h.stream != 0:
		return breach(http2.ErrCodeProtocol, "a ping on stream %d", h.stream)
	case len(payload) != 8:
		return breach(http2.ErrCodeFrameSize, "a PING frame of %d bytes", len(payload))
	case !h.flags.Has(http2.FlagPingAck):
		c.out = appendFrameHeader(c.out, len(payload), http2.FramePing, http2.FlagPingAck, 0)
		c.out = append(c.out, payload...)
	}
	return c.limitReplies()
}

// maxReplies bounds what is in line when a server floods with pings or settings
// and doesn't read the replies, in bytes.
const maxReplies = 1 << 20

func (c *conn) limitReplies() error {
	if len(c.out) > maxReplies {
		return breach(http2.ErrCodeEnhanceYourCalm, "it does not read the answers to its pings and settings")
	}
	return nil
}

// receiveGoAway ends the calls that the server has not begun with; those before
// go on.
func (c *conn) receiveGoAway(h frameHeader, payload []byte) error {
	switch {
	case h.stream != 0:
		return breach(http2.ErrCodeProtocol, "a GOAWAY frame on stream %d", h.stream)
	case len(payload) < 8:
		return breach(http2.ErrCodeFrameSize, "a GOAWAY frame of %d bytes", len(payload))
	}
	last, code := binary.BigEndian.Uint32(payload)&maxStreamID, http2.ErrCode(binary.BigEndian.Uint32(payload[4:]))
	if last > c.goAwayStream {
		return breach(http2.ErrCodeProtocol, "a GOAWAY frame up to stream %d after one up to %d", last, c.goAwayStream)
	}
	c.goAwayStream = last
	c.draining = true
	c.refuseQueue()
	for id, k := range c.streams {
		if id > last {
			k.unsent = nil
			c.endStream(k, errUnprocessed)
		}
	}
	if c.err == nil && len(c.streams) == 0 {
		reason := errDrained
		if code != http2.ErrCodeNo {
			reason = fmt.Errorf("the server ended the connection: %v %q", code, payload[8:min(len(payload), 8+200)])
		}
		c.fail(reason)
	}
	return nil
}

func (c *conn) receiveWindowUpdate(h frameHeader, payload []byte) error {
	if len(payload) != 4 {
		return breach(http2.ErrCodeFrameSize, "a WINDOW_UPDATE frame of %d bytes", len(payload))
	}
	increment := int64(binary.BigEndian.Uint32(payload) & maxWindow)
	if h.stream == 0 {
		switch c.window += increment; {
		case increment == 0:
			return breach(http2.ErrCodeProtocol, "it enlarges the connection's window by 0")
		case c.window > maxWindow:
			return breach(http2.ErrCodeFlowControl, "it enlarges the connection's window above %d", maxWindow)
		}
		c.wakeForRoom()
		return nil
	}
	k, err := c.call(h)
	if err != nil || k == nil {
		return err
	}
	switch k.window += increment; {
	case increment == 0:
		c.resetStream(k, http2.ErrCodeProtocol, "it enlarges a stream's window by 0")
	case k.window > maxWindow:
		c.resetStream(k, http2.ErrCodeFlowControl, "it enlarges a stream's window above 2 GiB")
	case k.need == needRoom:
		c.wake(k)
	}
	return nil
}

// resetStream ends a call for a breach that concerns no other.
func (c *conn) resetStream(k *Call, code http2.ErrCode, problem string) {
	k.unsent = nil
	c.out = appendReset(c.out, k.stream, code)
	c.endStream(k, status.Error(codes.Internal, (&protocolError{code: code, problem: problem}).Error()))
}

// receiveWindow is what the server may send, in bytes. It hears of what was read
// when that is half of it.
type receiveWindow struct {
	size   int64
	unsaid int64 // read, and not told yet
}

// take counts n bytes; increment is what to tell the server now, if above 0. It
// is not ok if the server sent more than it may.
func (w *receiveWindow) take(n int) (increment uint32, ok bool) {
	if w.unsaid += int64(n); w.unsaid > w.size {
		return 0, false
	}
	if w.unsaid < (w.size+1)/2 {
		return 0, true
	}
	increment, w.unsaid = uint32(w.unsaid), 0
	return increment, true
}
