// What is heard: one <audio data-identity> per participant, into which all their voices are mixed
// (an agent has one for everybody, and one for whispers).

export class Voices {
  constructor(place) {
    this.place = place;
    this.context = new AudioContext();
    this.people = new Map();
    addEventListener("click", () => this.context.resume());
  }

  add(identity, consumerId, track) {
    void this.context.resume();
    const person = this.people.get(identity) ?? this.meet(identity);
    const stream = new MediaStream([track]);
    const pump = new Audio(); // without it Chromium gives WebAudio nothing of a remote track
    pump.muted = true;
    pump.srcObject = stream;
    pump.play().catch(() => {});
    const source = this.context.createMediaStreamSource(stream);
    source.connect(person.mix);
    person.voices.set(consumerId, { source, pump });
  }

  remove(identity, consumerId) {
    const voices = this.people.get(identity)?.voices;
    const voice = voices?.get(consumerId);
    if (voice === undefined) return;
    voice.source.disconnect();
    voice.pump.srcObject = null;
    voices.delete(consumerId);
  }

  stop(identity) {
    const person = this.people.get(identity);
    if (person === undefined) return;
    for (const consumerId of [...person.voices.keys()]) this.remove(identity, consumerId);
    person.audio.srcObject = null;
    person.audio.remove();
    this.people.delete(identity);
  }

  meet(identity) {
    const mix = this.context.createMediaStreamDestination();
    const audio = document.createElement("audio");
    audio.dataset.identity = identity;
    audio.autoplay = true;
    audio.srcObject = mix.stream;
    this.place.append(audio);
    audio.play().catch(() => {});
    const person = { mix, audio, voices: new Map() };
    this.people.set(identity, person);
    return person;
  }
}
