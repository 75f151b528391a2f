-- Made by deploy/tools/write_schema.py; not to be edited.
CREATE TABLE account (
	subject BLOB NOT NULL, 
	local BLOB NOT NULL, 
	since_us INTEGER NOT NULL, 
	PRIMARY KEY (subject)
)
 WITHOUT ROWID

;
CREATE TABLE agency_key (
	agency VARCHAR NOT NULL, 
	kid VARCHAR NOT NULL, 
	jwk VARCHAR NOT NULL, 
	from_us INTEGER NOT NULL, 
	until_us INTEGER NOT NULL, 
	PRIMARY KEY (agency, kid)
)
 WITHOUT ROWID

;
CREATE TABLE agency_state (
	number INTEGER NOT NULL, 
	suspended INTEGER NOT NULL, 
	since_us INTEGER NOT NULL, 
	PRIMARY KEY (number)
);
CREATE TABLE agreement_proposal (
	digest VARCHAR NOT NULL, 
	code VARCHAR NOT NULL, 
	version INTEGER NOT NULL, 
	document VARCHAR NOT NULL, 
	datasets VARCHAR NOT NULL, 
	proposed_us INTEGER NOT NULL, 
	PRIMARY KEY (digest)
)
 WITHOUT ROWID

;
CREATE TABLE agreement_signature (
	digest VARCHAR NOT NULL, 
	side VARCHAR NOT NULL, 
	agency VARCHAR NOT NULL, 
	kid VARCHAR NOT NULL, 
	jws VARCHAR NOT NULL, 
	signed_us INTEGER NOT NULL, 
	PRIMARY KEY (digest, side)
)
 WITHOUT ROWID

;
CREATE TABLE agreement_state (
	number INTEGER NOT NULL, 
	phase VARCHAR NOT NULL, 
	since_us INTEGER NOT NULL, signed INTEGER DEFAULT 0 NOT NULL, 
	PRIMARY KEY (number)
);
CREATE TABLE agreement_suspension (
	agreement INTEGER NOT NULL, 
	agency INTEGER NOT NULL, 
	since_us INTEGER NOT NULL, 
	PRIMARY KEY (agreement, agency)
)
 WITHOUT ROWID

;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE ask (
	id INTEGER NOT NULL, 
	public BLOB NOT NULL, 
	asker INTEGER NOT NULL, 
	provider INTEGER NOT NULL, 
	dataset INTEGER NOT NULL, 
	subscription INTEGER NOT NULL, 
	person INTEGER NOT NULL, 
	fields INTEGER NOT NULL, 
	asks INTEGER NOT NULL, 
	question INTEGER NOT NULL, 
	state INTEGER NOT NULL, 
	stretch INTEGER NOT NULL, 
	asked_us INTEGER NOT NULL, 
	deadline_us INTEGER NOT NULL, 
	closed_us INTEGER, 
	reasons INTEGER, 
	tags BLOB NOT NULL, 
	answer BLOB, 
	PRIMARY KEY (id), 
	UNIQUE (public)
);
CREATE TABLE audit (
	id INTEGER NOT NULL, 
	kind INTEGER NOT NULL, 
	at_us INTEGER NOT NULL, 
	leaf BLOB NOT NULL, 
	fences BLOB NOT NULL, 
	detail BLOB NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE backfill (
	id INTEGER NOT NULL, 
	public BLOB NOT NULL, 
	subscription INTEGER NOT NULL, 
	provider INTEGER NOT NULL, 
	opened_us INTEGER NOT NULL, 
	until_us INTEGER NOT NULL, 
	ending INTEGER NOT NULL, 
	closed_us INTEGER, 
	persons INTEGER NOT NULL, 
	done INTEGER NOT NULL, 
	cursor BLOB NOT NULL, 
	ends VARCHAR NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (public)
);
CREATE TABLE backfill_person (
	backfill INTEGER NOT NULL, 
	person INTEGER NOT NULL, 
	cleared INTEGER NOT NULL, 
	PRIMARY KEY (backfill, person)
)
 WITHOUT ROWID

;
CREATE TABLE bus_record (
	id INTEGER NOT NULL, 
	"key" BLOB NOT NULL, 
	value BLOB NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE bus_topic (
	number INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	PRIMARY KEY (number), 
	UNIQUE (name)
);
CREATE TABLE catalogue_version (
	kind VARCHAR NOT NULL, 
	code VARCHAR NOT NULL, 
	version INTEGER NOT NULL, 
	digest VARCHAR NOT NULL, 
	document VARCHAR NOT NULL, 
	approved_us INTEGER NOT NULL, 
	PRIMARY KEY (kind, code, version)
)
 WITHOUT ROWID

;
CREATE TABLE choice (
	person INTEGER NOT NULL, 
	recipient INTEGER NOT NULL, 
	purpose INTEGER NOT NULL, 
	state INTEGER NOT NULL, 
	stretch INTEGER NOT NULL, 
	scope INTEGER NOT NULL, 
	until_us INTEGER NOT NULL, 
	assurance INTEGER NOT NULL, 
	consent INTEGER NOT NULL, 
	PRIMARY KEY (person, recipient, purpose)
)
 WITHOUT ROWID

;
CREATE TABLE consent (
	number INTEGER NOT NULL, 
	public VARCHAR NOT NULL, 
	person INTEGER NOT NULL, 
	recipient INTEGER NOT NULL, 
	purpose INTEGER NOT NULL, 
	stretch INTEGER NOT NULL, 
	state VARCHAR NOT NULL, 
	requested_us INTEGER NOT NULL, 
	events INTEGER NOT NULL, 
	head BLOB NOT NULL, due_us INTEGER, 
	PRIMARY KEY (number), 
	UNIQUE (public)
);
CREATE TABLE consent_event (
	consent INTEGER NOT NULL, 
	seq INTEGER NOT NULL, 
	at_us INTEGER NOT NULL, 
	sealed BLOB NOT NULL, 
	hash BLOB NOT NULL, 
	PRIMARY KEY (consent, seq)
)
 WITHOUT ROWID

;
CREATE TABLE day_key (
	agency INTEGER NOT NULL, 
	day INTEGER NOT NULL, 
	"key" BLOB, 
	PRIMARY KEY (agency, day)
)
 WITHOUT ROWID

;
CREATE TABLE dead_letter (
	number INTEGER NOT NULL, 
	waiting INTEGER NOT NULL, 
	code VARCHAR NOT NULL, 
	attempts INTEGER NOT NULL, 
	last_us INTEGER NOT NULL, 
	PRIMARY KEY (number)
);
CREATE TABLE delivery (
	id INTEGER NOT NULL, 
	public BLOB NOT NULL, 
	kind INTEGER NOT NULL, 
	recipient INTEGER NOT NULL, 
	subscription INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	audit INTEGER NOT NULL, 
	time_us INTEGER NOT NULL, 
	parts BLOB NOT NULL, 
	payload BLOB NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE delivery_aim (
	delivery INTEGER NOT NULL, 
	"of" BLOB NOT NULL, 
	original INTEGER NOT NULL, 
	fields INTEGER NOT NULL, 
	asks INTEGER NOT NULL, 
	until_us INTEGER NOT NULL, 
	PRIMARY KEY (delivery)
)
 WITHOUT ROWID

;
CREATE TABLE delivery_due (
	delivery INTEGER NOT NULL, 
	due_us INTEGER NOT NULL, 
	PRIMARY KEY (delivery)
)
 WITHOUT ROWID

;
CREATE TABLE erasure (
	person INTEGER NOT NULL, 
	audit INTEGER NOT NULL, 
	reason VARCHAR NOT NULL, 
	erased_us INTEGER NOT NULL, 
	bus_until_us INTEGER NOT NULL, 
	due_us INTEGER NOT NULL, 
	stage INTEGER NOT NULL, 
	recipient INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	scanned INTEGER NOT NULL, 
	PRIMARY KEY (person)
)
 WITHOUT ROWID

;
CREATE TABLE erasure_told (
	person INTEGER NOT NULL, 
	recipient INTEGER NOT NULL, 
	deliveries INTEGER NOT NULL, 
	PRIMARY KEY (person, recipient)
)
 WITHOUT ROWID

;
CREATE TABLE event_conflict (
	event BLOB NOT NULL, 
	content BLOB NOT NULL, 
	at_us INTEGER NOT NULL, 
	PRIMARY KEY (event, content)
)
 WITHOUT ROWID

;
CREATE TABLE event_seen (
	event BLOB NOT NULL, 
	content BLOB NOT NULL, delivery INTEGER, deliveries INTEGER, 
	PRIMARY KEY (event)
)
 WITHOUT ROWID

;
CREATE TABLE event_unheard (
	event BLOB NOT NULL, 
	failed INTEGER NOT NULL, 
	at_us INTEGER NOT NULL, 
	PRIMARY KEY (event)
)
 WITHOUT ROWID

;
CREATE TABLE fact (
	name VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE fence (
	kind INTEGER NOT NULL, 
	subject INTEGER NOT NULL, 
	epoch INTEGER NOT NULL, 
	PRIMARY KEY (kind, subject)
)
 WITHOUT ROWID

;
CREATE TABLE file_batch (
	id INTEGER NOT NULL, 
	batch VARCHAR NOT NULL, 
	recipient INTEGER NOT NULL, 
	files VARCHAR NOT NULL, 
	sha256 BLOB NOT NULL, 
	first INTEGER NOT NULL, 
	last INTEGER NOT NULL, 
	written_us INTEGER NOT NULL, 
	acked_us INTEGER, 
	gone_us INTEGER, 
	unwanted INTEGER NOT NULL, 
	named BLOB NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (batch)
);
CREATE TABLE file_drop (
	agency INTEGER NOT NULL, 
	format VARCHAR NOT NULL, 
	bom INTEGER NOT NULL, 
	since_us INTEGER NOT NULL, 
	batches INTEGER NOT NULL, 
	PRIMARY KEY (agency)
);
CREATE TABLE handout (
	recipient INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	delivery INTEGER NOT NULL, 
	opened_us INTEGER NOT NULL, 
	acked_us INTEGER, 
	ended INTEGER NOT NULL, used INTEGER, 
	PRIMARY KEY (recipient, number)
)
 WITHOUT ROWID

;
CREATE TABLE handout_person (
	person INTEGER NOT NULL, 
	recipient INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	stretch INTEGER NOT NULL, 
	audit INTEGER NOT NULL, 
	PRIMARY KEY (person, recipient, number, stretch)
)
 WITHOUT ROWID

;
CREATE TABLE history (
	person INTEGER NOT NULL, 
	audit INTEGER NOT NULL, 
	PRIMARY KEY (person, audit)
)
 WITHOUT ROWID

;
CREATE TABLE hold_key (
	delivery INTEGER NOT NULL, 
	part INTEGER NOT NULL, 
	sealed BLOB NOT NULL, 
	PRIMARY KEY (delivery, part)
)
 WITHOUT ROWID

;
CREATE TABLE hub_key (
	root BLOB NOT NULL, 
	name VARCHAR NOT NULL, 
	wrapped BLOB NOT NULL, 
	since_us INTEGER NOT NULL, 
	PRIMARY KEY (root, name)
)
 WITHOUT ROWID

;
CREATE TABLE interned (
	id INTEGER NOT NULL, 
	body VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE kept_form (
	token BLOB NOT NULL, 
	person INTEGER NOT NULL, 
	sealed BLOB NOT NULL, 
	expires_us INTEGER NOT NULL, 
	PRIMARY KEY (token)
);
CREATE TABLE last_heard (
	dataset INTEGER NOT NULL, 
	at_us INTEGER NOT NULL, 
	PRIMARY KEY (dataset)
);
CREATE TABLE lease (
	name VARCHAR NOT NULL, 
	owner VARCHAR NOT NULL, 
	epoch INTEGER NOT NULL, 
	until_us INTEGER NOT NULL, 
	PRIMARY KEY (name)
)
 WITHOUT ROWID

;
CREATE TABLE legal_hold (
	number INTEGER NOT NULL, 
	person INTEGER NOT NULL, 
	reference VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	from_us INTEGER NOT NULL, 
	until_us INTEGER NOT NULL, 
	PRIMARY KEY (number)
);
CREATE TABLE link (
	local BLOB NOT NULL, 
	agency INTEGER NOT NULL, 
	from_us INTEGER NOT NULL, 
	until_us INTEGER, 
	person INTEGER NOT NULL, 
	level INTEGER NOT NULL, 
	disputed INTEGER NOT NULL, 
	sealed BLOB NOT NULL, 
	PRIMARY KEY (local, from_us)
)
 WITHOUT ROWID

;
CREATE TABLE news (
	topic INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	PRIMARY KEY (topic)
);
CREATE TABLE officer_key (
	agency VARCHAR NOT NULL, 
	kid VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	office VARCHAR NOT NULL, 
	jwk VARCHAR NOT NULL, 
	from_us INTEGER NOT NULL, 
	until_us INTEGER NOT NULL, 
	PRIMARY KEY (agency, kid)
)
 WITHOUT ROWID

;
CREATE TABLE one_time_code (
	person INTEGER NOT NULL, 
	aim VARCHAR NOT NULL, 
	code BLOB NOT NULL, 
	expires_us INTEGER NOT NULL, 
	attempts INTEGER NOT NULL, 
	issued INTEGER NOT NULL, 
	window_us INTEGER NOT NULL, 
	PRIMARY KEY (person, aim)
)
 WITHOUT ROWID

;
CREATE TABLE person (
	id INTEGER NOT NULL, 
	created_us INTEGER NOT NULL, 
	erased_us INTEGER, 
	"key" BLOB, 
	born BLOB, 
	PRIMARY KEY (id)
);
CREATE TABLE position (
	partition VARCHAR NOT NULL, 
	epoch INTEGER NOT NULL, 
	next INTEGER NOT NULL, 
	PRIMARY KEY (partition)
);
CREATE TABLE postponed (
	recipient INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	PRIMARY KEY (recipient, number)
)
 WITHOUT ROWID

;
CREATE TABLE queue (
	recipient INTEGER NOT NULL, 
	state INTEGER NOT NULL, 
	delivery INTEGER NOT NULL, 
	subscription INTEGER NOT NULL, 
	person INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	due_us INTEGER NOT NULL, 
	PRIMARY KEY (recipient, state, delivery)
)
 WITHOUT ROWID

;
CREATE TABLE receipt (
	id VARCHAR NOT NULL, 
	consent INTEGER NOT NULL, 
	kind VARCHAR NOT NULL, 
	at_us INTEGER NOT NULL, 
	person INTEGER NOT NULL, 
	sealed BLOB NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE recipient_counter (
	recipient INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	PRIMARY KEY (recipient)
);
CREATE TABLE sealing_key (
	agency VARCHAR NOT NULL, 
	kid VARCHAR NOT NULL, 
	public BLOB NOT NULL, 
	from_us INTEGER NOT NULL, 
	until_us INTEGER NOT NULL, 
	PRIMARY KEY (agency, kid)
)
 WITHOUT ROWID

;
CREATE TABLE session (
	token BLOB NOT NULL, 
	principal VARCHAR NOT NULL, 
	csrf BLOB NOT NULL, 
	expires_us INTEGER NOT NULL, actor INTEGER, local BLOB, 
	PRIMARY KEY (token)
);
CREATE TABLE used_assertion (
	digest BLOB NOT NULL, 
	exp_us INTEGER NOT NULL, 
	PRIMARY KEY (digest)
)
 WITHOUT ROWID

;
CREATE TABLE waiting (
	id INTEGER NOT NULL, 
	publisher INTEGER NOT NULL, 
	dataset INTEGER NOT NULL, 
	subject BLOB NOT NULL, 
	local BLOB NOT NULL, 
	event BLOB NOT NULL, 
	since_us INTEGER NOT NULL, 
	until_us INTEGER NOT NULL, 
	sealed BLOB NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE waiting_key (
	subject BLOB NOT NULL, 
	"key" BLOB NOT NULL, 
	PRIMARY KEY (subject)
)
 WITHOUT ROWID

;
CREATE TABLE webhook (
	agency VARCHAR NOT NULL, 
	url VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	since_us INTEGER NOT NULL, 
	next_us INTEGER NOT NULL, 
	failures INTEGER NOT NULL, 
	PRIMARY KEY (agency)
)
 WITHOUT ROWID

;
CREATE TABLE webhook_key (
	agency VARCHAR NOT NULL, 
	kid VARCHAR NOT NULL, 
	public BLOB NOT NULL, 
	sealed BLOB NOT NULL, 
	from_us INTEGER NOT NULL, 
	until_us INTEGER NOT NULL, 
	PRIMARY KEY (agency, kid)
)
 WITHOUT ROWID

;
CREATE TABLE webhook_proof (
	agency VARCHAR NOT NULL, 
	asked_us INTEGER NOT NULL, 
	begun_us INTEGER NOT NULL, 
	PRIMARY KEY (agency)
)
 WITHOUT ROWID

;
CREATE TABLE worker (
	id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	parts VARCHAR NOT NULL, 
	since_us INTEGER NOT NULL, 
	heard_us INTEGER NOT NULL, 
	PRIMARY KEY (id)
)
 WITHOUT ROWID

;
CREATE INDEX account_local ON account (local);
CREATE INDEX ask_answer ON ask (deadline_us) WHERE answer IS NOT NULL;
CREATE INDEX ask_open ON ask (deadline_us) WHERE state = 1;
CREATE INDEX ask_person ON ask (person, subscription);
CREATE INDEX backfill_open ON backfill (subscription) WHERE closed_us IS NULL;
CREATE INDEX consent_due ON consent (due_us) WHERE due_us IS NOT NULL;
CREATE INDEX consent_person ON consent (person);
CREATE UNIQUE INDEX dead_letter_waiting ON dead_letter (waiting) WHERE waiting > 0;
CREATE INDEX erasure_open ON erasure (stage) WHERE stage > 0;
CREATE INDEX file_batch_recipient ON file_batch (recipient);
CREATE INDEX kept_form_person ON kept_form (person);
CREATE INDEX legal_hold_person ON legal_hold (person);
CREATE INDEX link_disputed ON link (person, agency) WHERE disputed = 1 AND until_us IS NULL;
CREATE INDEX link_ended ON link (person) WHERE until_us IS NOT NULL;
CREATE INDEX link_person ON link (person, agency, sealed, until_us) WHERE until_us IS NULL;
CREATE INDEX queue_backfill ON queue (subscription, person, state) WHERE state > 3;
CREATE INDEX queue_held ON queue (person, subscription, delivery) WHERE state = 2;
CREATE INDEX receipt_consent ON receipt (consent);
CREATE INDEX session_actor ON session (actor);
CREATE INDEX session_local ON session (local);
CREATE INDEX used_assertion_exp ON used_assertion (exp_us);
CREATE INDEX waiting_local ON waiting (local);
CREATE INDEX waiting_subject ON waiting (subject, dataset);
INSERT INTO alembic_version VALUES ('0015');
