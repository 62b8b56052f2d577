//! The views that a SOC analyst starts from, in SQL over `events`.
//!
//! A view may use `events` and the views before it. Nothing in a view turns an unknown fact into a
//! value: what no event told is null.

/// A named query.
pub struct View {
    pub name: &'static str,
    /// One line for the documentation.
    pub about: &'static str,
    pub sql: &'static str,
}

/// Every view, in the order in which they build on one another.
pub const VIEWS: &[View] = &[
    View {
        name: "exec",
        about: "programs executed, and those that were to be: where result is below 0, exe is the program \
                that tried, and argv what it tried",
        sql: "
            SELECT sensor_id, host, time, session, agent_family, agent_version, pid, start, ppid,
                   exe, CASE WHEN result < 0 THEN exec_argv ELSE argv END AS argv,
                   CASE WHEN result < 0 THEN exec_argv_truncated ELSE argv_truncated END
                       AS argv_truncated,
                   cwd, uid, exec_filename AS filename, result, hook
            FROM events WHERE class = 'exec'",
    },
    View {
        name: "files",
        about: "files opened and changed; access is read, write, create (O_CREAT was given: it may have \
                existed), path (O_PATH: not opened for reading or writing), or what was changed (rename, \
                unlink …). Of a rename, exchange or link, path is the name the file got and was the one \
                before: what is written under a temporary name and renamed is found by the name it got. many: \
                path is a folder, in which count files were changed",
        sql: "
            SELECT sensor_id, host, time, session, agent_family, agent_version, pid, start, exe,
                   file_path AS path, file_resolved AS resolved,
                   CASE WHEN file_flags & 2097152 <> 0 THEN 'path'
                        WHEN file_flags & 64 <> 0 THEN 'create'
                        WHEN file_flags & 3 <> 0 OR file_flags & 512 <> 0 THEN 'write'
                        ELSE 'read' END AS access,
                   file_flags AS flags, file_mode AS mode, count, last, result, hook,
                   file_inode AS inode, file_device AS device, file_links AS links,
                   NULL AS was, false AS many
            FROM events WHERE class = 'open'
            UNION ALL
            SELECT sensor_id, host, time, session, agent_family, agent_version, pid, start, exe,
                   CASE WHEN change_op IN ('rename', 'exchange', 'link') THEN change_to
                        ELSE file_path END AS path,
                   file_resolved AS resolved, change_op AS access,
                   NULL AS flags, file_mode AS mode, count, last, result, hook,
                   file_inode AS inode, file_device AS device, NULL AS links,
                   CASE WHEN change_op IN ('rename', 'exchange', 'link') THEN file_path END AS was,
                   change_many AS many
            FROM events WHERE class = 'change'",
    },
    View {
        name: "net",
        about: "connections and datagrams to named peers; destination is address:port, the path, or the family",
        sql: "
            SELECT sensor_id, host, time, session, agent_family, agent_version, pid, start, exe,
                   net_family AS family, net_addr AS addr, net_port AS port, net_proto AS proto,
                   net_path AS path,
                   CASE WHEN net_family = 'inet6'
                        THEN '[' || net_addr || ']:' || CAST(net_port AS VARCHAR)
                        WHEN net_family = 'inet'
                        THEN net_addr || ':' || CAST(net_port AS VARCHAR)
                        WHEN net_family = 'unix' THEN net_path
                        WHEN net_family = 'vsock' THEN 'vsock:' || coalesce(net_path, '?')
                        ELSE 'family ' || net_family END AS destination,
                   count, last, result, hook
            FROM events WHERE class = 'connect'",
    },
    View {
        name: "events_corrected",
        about: "events, with corrected_time: the time by the newest clock that the sensor knows of in that \
                boot. It differs from time for what happened before the wall clock was set (NTP after the \
                boot, a person), and for what waited in the spool meanwhile; null from a sensor that does \
                not tell its boot clock. clock_offset is the difference it is made with, null where no step \
                was told. Narrow it by time, too: that is what the files are sorted by",
        sql: "
            SELECT events.*, steps.clock_offset,
                   CASE WHEN events.boot_time IS NULL THEN NULL
                        WHEN steps.clock_offset IS NULL THEN events.time
                        ELSE arrow_cast((events.boot_time + steps.clock_offset) / 1000,
                                        'Timestamp(Microsecond, Some(\"UTC\"))')
                   END AS corrected_time
            FROM events LEFT JOIN (
                SELECT sensor_id AS of_sensor, boot_id AS of_boot,
                       last_value(clock_offset_after ORDER BY boot_time, seq) AS clock_offset
                FROM events WHERE class = 'coverage' AND coverage_what = 'clock'
                    AND clock_offset_after IS NOT NULL
                GROUP BY sensor_id, boot_id
            ) AS steps ON steps.of_sensor = events.sensor_id AND steps.of_boot = events.boot_id",
    },
    View {
        name: "findings",
        about: "what a person should look at, by rule and severity, with the process it is about",
        sql: "
            SELECT sensor_id, host, time, session, agent_family, agent_version, pid, start, exe, argv,
                   finding_rule AS rule, finding_title AS title, finding_severity AS severity,
                   finding_attack AS attack, finding_reason AS reason
            FROM events WHERE class = 'finding'",
    },
    View {
        name: "lost",
        about: "records that did not arrive, by hop, type and cause",
        sql: "
            SELECT sensor_id, host, time, lost_hop AS hop, lost_record AS record,
                   lost_cause AS cause, count, lost_first AS first, lost_last AS last, session
            FROM events WHERE class = 'lost'",
    },
    View {
        name: "coverage",
        about: "one row for each time and place that is not vouched for, losses included: what, of \
                which hook or record type, from first to last (null: it still holds), how many \
                records, and why; session is null when it concerns the whole host",
        sql: "
            WITH told AS (
                SELECT sensor_id, host, session, coverage_what AS what, coverage_hook AS hook,
                       coverage_phase AS phase, coverage_first AS first, coverage_last AS last,
                       count, coverage_reason AS reason, time,
                       lead(coverage_phase) OVER next AS next_phase,
                       lead(coverage_first) OVER next AS next_first
                FROM events WHERE class = 'coverage' AND coverage_what <> 'canary'
                WINDOW next AS (PARTITION BY sensor_id, session, coverage_what, coverage_hook
                                ORDER BY time, epoch, seq)
            )
            SELECT sensor_id, host, session, what, hook, first,
                   CASE phase WHEN 'begin' THEN next_first ELSE last END AS last,
                   count, reason, time
            FROM told WHERE phase <> 'begin' OR next_phase IS NULL OR next_phase <> 'end'
            UNION ALL
            SELECT sensor_id, host, session, 'lost' AS what, NULL AS hook, first, last, count,
                   concat(record, ' records at ', hop, ': ', cause) AS reason, time
            FROM lost",
    },
    View {
        name: "sessions",
        about: "one row a session: what the agent was, and where and when it ran, as its sensor told in \
                events of class session, so that it costs little; gaps is how many the sensor knows \
                of in its story, found how it came to know of it, first_seen and last_seen when it \
                first and last told of it",
        sql: "
            SELECT sensor_id, session,
                last_value(host ORDER BY time, seq) AS host,
                last_value(agent_family ORDER BY time, seq)
                    FILTER (WHERE agent_family IS NOT NULL) AS agent_family,
                last_value(agent_version ORDER BY time, seq)
                    FILTER (WHERE agent_version IS NOT NULL) AS agent_version,
                last_value(agent_confidence ORDER BY time, seq)
                    FILTER (WHERE agent_confidence IS NOT NULL) AS agent_confidence,
                last_value(agent_evidence ORDER BY time, seq)
                    FILTER (WHERE agent_evidence IS NOT NULL) AS agent_evidence,
                last_value(agent_install_path ORDER BY time, seq)
                    FILTER (WHERE agent_install_path IS NOT NULL) AS agent_install_path,
                last_value(agent_name ORDER BY time, seq)
                    FILTER (WHERE agent_name IS NOT NULL) AS agent_name,
                min(time) FILTER (WHERE session_phase = 'start') AS started,
                max(time) FILTER (WHERE session_phase = 'end') AS ended,
                min(time) AS first_seen, max(time) AS last_seen,
                last_value(session_parent ORDER BY time, seq)
                    FILTER (WHERE session_parent IS NOT NULL) AS parent,
                last_value(user_name ORDER BY time, seq)
                    FILTER (WHERE user_name IS NOT NULL) AS user_name,
                last_value(user_uid ORDER BY time, seq)
                    FILTER (WHERE user_uid IS NOT NULL) AS uid,
                last_value(login_uid ORDER BY time, seq)
                    FILTER (WHERE login_uid IS NOT NULL) AS login_uid,
                last_value(terminal ORDER BY time, seq)
                    FILTER (WHERE terminal IS NOT NULL) AS terminal,
                last_value(session_cwd ORDER BY time, seq)
                    FILTER (WHERE session_cwd IS NOT NULL) AS cwd,
                last_value(repo_root ORDER BY time, seq)
                    FILTER (WHERE repo_root IS NOT NULL) AS repo_root,
                last_value(repo_remote ORDER BY time, seq)
                    FILTER (WHERE repo_remote IS NOT NULL) AS repo_remote,
                last_value(repo_branch ORDER BY time, seq)
                    FILTER (WHERE repo_branch IS NOT NULL) AS repo_branch,
                first_value(pid ORDER BY time, seq)
                    FILTER (WHERE session_phase = 'start') AS root_pid,
                first_value(ppid ORDER BY time, seq)
                    FILTER (WHERE session_phase = 'start') AS root_ppid,
                max(session_gaps) AS gaps,
                last_value(session_found ORDER BY time, seq)
                    FILTER (WHERE session_found IS NOT NULL) AS found,
                last_value(user_source ORDER BY time, seq)
                    FILTER (WHERE user_source IS NOT NULL) AS user_source,
                last_value(session_cgroup ORDER BY time, seq)
                    FILTER (WHERE session_cgroup IS NOT NULL) AS cgroup,
                last_value(container_runtime ORDER BY time, seq)
                    FILTER (WHERE container_runtime IS NOT NULL) AS container_runtime,
                last_value(container_id ORDER BY time, seq)
                    FILTER (WHERE container_id IS NOT NULL) AS container_id
            FROM events WHERE class = 'session' AND session IS NOT NULL
            GROUP BY sensor_id, session",
    },
    View {
        name: "session_activity",
        about: "one row a session: how much it did, and its first and last event; counted over every \
                event, so ask for sessions by their id",
        sql: "
            SELECT sensor_id, session,
                min(time) AS first_event, max(coalesce(last, time)) AS last_event,
                count(DISTINCT concat(CAST(pid AS VARCHAR), '/', CAST(start AS VARCHAR)))
                    FILTER (WHERE pid IS NOT NULL) AS processes,
                count(DISTINCT file_path) AS files,
                count(DISTINCT concat(net_addr, '/', CAST(net_port AS VARCHAR), '/', net_path))
                    FILTER (WHERE class = 'connect') AS destinations,
                count(*) FILTER (WHERE class = 'finding') AS findings
            FROM events WHERE session IS NOT NULL AND class NOT IN ('lost', 'coverage')
            GROUP BY sensor_id, session",
    },
    View {
        name: "session_gaps",
        about: "one row for each session and what is not vouched for of it: its own rows of coverage, \
                and those of its whole host while it ran; a session of which no end was told counts as \
                going on",
        sql: "
            SELECT sensor_id, session, false AS whole_host, what, hook, first, last, count, reason
            FROM coverage WHERE session IS NOT NULL
            UNION ALL
            SELECT sessions.sensor_id, sessions.session, true AS whole_host,
                   coverage.what, coverage.hook, coverage.first, coverage.last, coverage.count,
                   coverage.reason
            FROM sessions JOIN coverage ON coverage.sensor_id = sessions.sensor_id
                AND coverage.first <= coalesce(sessions.ended, coverage.first)
                AND coalesce(coverage.last, sessions.first_seen) >= sessions.first_seen
            WHERE coverage.session IS NULL",
    },
    View {
        name: "agents",
        about: "inventory: each agent by host, user, version and install path, with the name of one of no family; running is how many of \
                its sessions have not been told to have ended",
        sql: "
            SELECT sensor_id, host, user_name, agent_family, agent_name, agent_version,
                   agent_install_path AS install_path,
                   max(agent_confidence) AS confidence,
                   last_value(agent_evidence ORDER BY last_seen) AS evidence,
                   count(*) AS sessions,
                   count(*) FILTER (WHERE ended IS NULL) AS running,
                   min(first_seen) AS first_seen, max(last_seen) AS last_seen
            FROM sessions WHERE agent_family IS NOT NULL
            GROUP BY sensor_id, host, user_name, agent_family, agent_name, agent_version,
                     agent_install_path",
    },
    View {
        name: "hosts",
        about: "one row a sensor: it and its host as of its last hello, which facts have another hook \
                than the best (hooks_not_live), and the last self-test it told of within a day",
        sql: "
            SELECT sensors.*, hooks_live, hooks_not_live, last_self_test
            FROM sensors
            LEFT JOIN (
                SELECT sensor_id, count(*) FILTER (WHERE status = 'live') AS hooks_live,
                       array_agg(concat(fact, ' ', status, ': ', reason) ORDER BY fact)
                           FILTER (WHERE status <> 'live') AS hooks_not_live
                FROM hooks GROUP BY sensor_id
            ) AS own_hooks ON own_hooks.sensor_id = sensors.sensor_id
            LEFT JOIN (
                SELECT sensor_id, max(time) AS last_self_test FROM events
                WHERE class = 'coverage' AND coverage_what = 'canary' AND time > ago('1d')
                GROUP BY sensor_id
            ) AS tests ON tests.sensor_id = sensors.sensor_id",
    },
];
