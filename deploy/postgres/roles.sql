-- Roles and schemas of the four services, and the auditor who only reads; harmless to repeat.
-- Passwords come as settings: SET bloxtr8.escrow_app_password = '…' and so on.
DO $$
DECLARE
    service text;
    role text;
BEGIN
    PERFORM pg_advisory_xact_lock(8453);
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'auditor') THEN
        CREATE ROLE auditor;
    END IF;
    EXECUTE format(
        'ALTER ROLE auditor LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS'
        ' NOINHERIT PASSWORD %L', current_setting('bloxtr8.auditor_password'));
    ALTER ROLE auditor SET default_transaction_read_only = on;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO auditor', current_database());
    FOREACH service IN ARRAY ARRAY['identity', 'listings', 'contracts', 'escrow'] LOOP
        FOREACH role IN ARRAY ARRAY[service || '_owner', service || '_app'] LOOP
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                EXECUTE format('CREATE ROLE %I', role);
            END IF;
            EXECUTE format(
                'ALTER ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS'
                ' NOINHERIT PASSWORD %L',
                role, current_setting(format('bloxtr8.%s_password', role)));
            EXECUTE format('ALTER ROLE %I SET search_path = %I', role, service);
            EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role);
        END LOOP;
        EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION %I', service, service || '_owner');
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', service);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, auditor', service, service || '_app');
        -- Functions are callable by everyone unless said otherwise.
        EXECUTE format(
            'ALTER DEFAULT PRIVILEGES FOR ROLE %I REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC',
            service || '_owner');
    END LOOP;
END $$;
