// A client made of pion, as LiveKit's Go SDK is: two connections, no header extensions.
//
//	conformance URL TOKEN FILE.ogg
//
// Joins, publishes the Ogg file's Opus, counts the packets it hears and talks by data. What happens
// is one JSON object per line of standard output; it ends with its standard input.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/livekit/protocol/livekit"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
	"github.com/pion/webrtc/v4/pkg/media/oggreader"
	"google.golang.org/protobuf/proto"
)

const (
	enough    = 50 // packets of a track are a voice that is heard
	frameTime = 20 * time.Millisecond
	trackID   = "TR_chosen_by_the_client"
)

type event struct {
	Event    string `json:"event"`
	Identity string `json:"identity,omitempty"`
	Text     string `json:"text,omitempty"`
}

type client struct {
	socket     *websocket.Conn
	publisher  *webrtc.PeerConnection
	subscriber *webrtc.PeerConnection
	track      *webrtc.TrackLocalStaticSample
	reliable   *webrtc.DataChannel
	writing    sync.Mutex
}

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(url, token, file string) error {
	header := http.Header{"Authorization": {"Bearer " + token}}
	query := "/rtc?version=2.0.0&protocol=15&auto_subscribe=1&sdk=go"
	socket, _, err := websocket.DefaultDialer.Dial(url+query, header)
	if err != nil {
		return err
	}
	me := &client{socket: socket}
	if err := me.prepare(); err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- me.read(file) }()
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		failed <- err
	}()
	err = <-failed
	_ = me.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_Leave{
		Leave: &livekit.LeaveRequest{Reason: livekit.DisconnectReason_CLIENT_INITIATED},
	}})
	return errors.Join(err, me.publisher.Close(), me.subscriber.Close(), socket.Close())
}

// prepare makes both connections; no interceptors, and so no header extensions.
func (me *client) prepare() error {
	engine := &webrtc.MediaEngine{}
	if err := engine.RegisterDefaultCodecs(); err != nil {
		return err
	}
	api := webrtc.NewAPI(webrtc.WithMediaEngine(engine))
	for _, connection := range []**webrtc.PeerConnection{&me.publisher, &me.subscriber} {
		made, err := api.NewPeerConnection(webrtc.Configuration{})
		if err != nil {
			return err
		}
		*connection = made
	}
	me.trickle(me.publisher, livekit.SignalTarget_PUBLISHER)
	me.trickle(me.subscriber, livekit.SignalTarget_SUBSCRIBER)
	me.subscriber.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { count(track) })
	me.subscriber.OnDataChannel(func(channel *webrtc.DataChannel) { channel.OnMessage(hear) })
	return me.openChannels()
}

func (me *client) openChannels() error {
	ordered, unordered, retransmits := true, false, uint16(1)
	reliable, err := me.publisher.CreateDataChannel(
		"_reliable", &webrtc.DataChannelInit{Ordered: &ordered})
	if err != nil {
		return err
	}
	lossy, err := me.publisher.CreateDataChannel("_lossy", &webrtc.DataChannelInit{
		Ordered: &unordered, MaxRetransmits: &retransmits,
	})
	if err != nil {
		return err
	}
	me.reliable = reliable
	reliable.OnMessage(hear)
	lossy.OnMessage(hear)
	reliable.OnOpen(func() {
		packet := &livekit.DataPacket{Value: &livekit.DataPacket_User{
			User: &livekit.UserPacket{Payload: []byte("from go")},
		}}
		if data, err := proto.Marshal(packet); err == nil {
			_ = reliable.Send(data)
		}
	})
	return nil
}

func (me *client) trickle(connection *webrtc.PeerConnection, target livekit.SignalTarget) {
	connection.OnICECandidate(func(candidate *webrtc.ICECandidate) {
		if candidate == nil {
			return
		}
		init, _ := json.Marshal(candidate.ToJSON())
		_ = me.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_Trickle{
			Trickle: &livekit.TrickleRequest{CandidateInit: string(init), Target: target},
		}})
	})
}

func (me *client) send(message *livekit.SignalRequest) error {
	data, err := proto.Marshal(message)
	if err != nil {
		return err
	}
	me.writing.Lock()
	defer me.writing.Unlock()
	return me.socket.WriteMessage(websocket.BinaryMessage, data)
}

// read takes what the server says until it says goodbye.
func (me *client) read(file string) error {
	for {
		_, data, err := me.socket.ReadMessage()
		if err != nil {
			return err
		}
		message := &livekit.SignalResponse{}
		if err := proto.Unmarshal(data, message); err != nil {
			return err
		}
		if err := me.take(message, file); err != nil {
			return err
		}
	}
}

func (me *client) take(message *livekit.SignalResponse, file string) error {
	switch said := message.Message.(type) {
	case *livekit.SignalResponse_Join:
		say(event{Event: "joined", Identity: said.Join.Participant.Identity})
		return me.announce()
	case *livekit.SignalResponse_TrackPublished:
		say(event{Event: "published", Text: said.TrackPublished.Track.Sid})
		go func() { _ = play(me.track, file) }()
	case *livekit.SignalResponse_Answer:
		return me.publisher.SetRemoteDescription(webrtc.SessionDescription{
			Type: webrtc.SDPTypeAnswer, SDP: said.Answer.Sdp,
		})
	case *livekit.SignalResponse_Offer:
		return me.answer(said.Offer)
	case *livekit.SignalResponse_Trickle:
		return me.add(said.Trickle)
	case *livekit.SignalResponse_Leave:
		return fmt.Errorf("told to leave: %v", said.Leave.Reason)
	}
	return nil
}

// announce publishes the track, as the Go SDK does: the offer says sendrecv.
func (me *client) announce() error {
	opus := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}
	track, err := webrtc.NewTrackLocalStaticSample(opus, trackID, trackID)
	if err != nil {
		return err
	}
	me.track = track
	if _, err := me.publisher.AddTrack(track); err != nil {
		return err
	}
	request := &livekit.AddTrackRequest{
		Cid: trackID, Name: "voice", Source: livekit.TrackSource_MICROPHONE,
	}
	if err := me.send(&livekit.SignalRequest{
		Message: &livekit.SignalRequest_AddTrack{AddTrack: request},
	}); err != nil {
		return err
	}
	offer, err := me.publisher.CreateOffer(nil)
	if err != nil {
		return err
	}
	if err := me.publisher.SetLocalDescription(offer); err != nil {
		return err
	}
	return me.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_Offer{
		Offer: &livekit.SessionDescription{Type: "offer", Sdp: offer.SDP, Id: 1},
	}})
}

func (me *client) answer(offer *livekit.SessionDescription) error {
	description := webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer.Sdp}
	if err := me.subscriber.SetRemoteDescription(description); err != nil {
		return err
	}
	answer, err := me.subscriber.CreateAnswer(nil)
	if err != nil {
		return err
	}
	if err := me.subscriber.SetLocalDescription(answer); err != nil {
		return err
	}
	return me.send(&livekit.SignalRequest{Message: &livekit.SignalRequest_Answer{
		Answer: &livekit.SessionDescription{Type: "answer", Sdp: answer.SDP, Id: offer.Id},
	}})
}

// add takes a candidate; those that come before their description are in its SDP too, or are
// answered when the server's checks come.
func (me *client) add(trickle *livekit.TrickleRequest) error {
	var candidate webrtc.ICECandidateInit
	if err := json.Unmarshal([]byte(trickle.CandidateInit), &candidate); err != nil {
		return err
	}
	connection := me.publisher
	if trickle.Target == livekit.SignalTarget_SUBSCRIBER {
		connection = me.subscriber
	}
	if connection.RemoteDescription() == nil {
		return nil
	}
	return connection.AddICECandidate(candidate)
}

// play sends the file over and over, a page per frame.
func play(track *webrtc.TrackLocalStaticSample, name string) error {
	for ticker := time.NewTicker(frameTime); ; {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		reader, _, err := oggreader.NewWith(file)
		for err == nil {
			var page []byte
			if page, _, err = reader.ParseNextPage(); err == nil && !isHeader(page) {
				<-ticker.C
				err = track.WriteSample(media.Sample{Data: page, Duration: frameTime})
			}
		}
		_ = file.Close()
		if !errors.Is(err, io.EOF) {
			return err
		}
	}
}

func isHeader(page []byte) bool {
	return strings.HasPrefix(string(page), "Opus")
}

func count(track *webrtc.TrackRemote) {
	for n := 1; ; n++ {
		if _, _, err := track.ReadRTP(); err != nil {
			return
		}
		if n%enough == 0 {
			say(event{Event: "heard", Text: track.ID(), Identity: track.StreamID()})
		}
	}
}

func hear(message webrtc.DataChannelMessage) {
	packet := &livekit.DataPacket{}
	if proto.Unmarshal(message.Data, packet) != nil || packet.GetUser() == nil {
		return
	}
	say(event{
		Event: "data", Identity: packet.ParticipantIdentity, Text: string(packet.GetUser().Payload),
	})
}

var printing sync.Mutex

func say(happened event) {
	printing.Lock()
	defer printing.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(happened)
}
